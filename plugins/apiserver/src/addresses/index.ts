/**
 * An IPAddress for each cluster address of a Service, as upstream's allocator keeps them, and the condition and finalizer
 * of ServiceCIDRs. What a crash or somebody's hand has changed is repaired at the start and as it happens.
 */
import { defineResource, isAlreadyExists, isConflict, isNotFound, type KubeClient, setCondition, timestamp } from "@k3s-p/plugin-api/kube";
import { type Cidr, cidrContains, parseCidr } from "@k3s-p/plugin-api/net";
import { addressesOf, releaseReservations } from "../resources/core/allocator.ts";
import type { Obj } from "../resources/types.ts";
import type { Store } from "../store/store.ts";

const GROUP = "networking.k8s.io";
const ipAddresses = defineResource(GROUP, "v1", "ipaddresses", "IPAddress", "cluster");
const serviceCidrs = defineResource(GROUP, "v1", "servicecidrs", "ServiceCIDR", "cluster");
const MANAGED_BY = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR = "ipallocator.k8s.io";
const FINALIZER = "networking.k8s.io/service-cidr-finalizer";

export interface AddressDeps {
  readonly client: KubeClient;
  readonly store: Pick<Store, "get" | "list" | "collection">;
  readonly now: () => Date;
  readonly onError: (error: unknown) => void;
}

interface Owner {
  readonly namespace: string;
  readonly name: string;
}

/** Returns the stop function. */
export function followAddresses({ client, store, now, onError }: AddressDeps): () => void {
  const owners = new Map<string, Owner>();
  const held = new Map<string, readonly string[]>();
  const due = createRounds(async (ip) => reconcileAddress(client, store, ip, owners.get(ip)), onError);
  const cidrs = createRounds(async (name) => reconcileCidr({ client, store, now }, name), onError);
  const allCidrs = (): void => store.list(GROUP, "servicecidrs").forEach(({ metadata }) => cidrs.add(metadata!.name!));

  const learn = (service: Obj, isGone: boolean): void => {
    const { namespace = "", name = "" } = service.metadata ?? {};
    const key = `${namespace}/${name}`;
    const before = held.get(key) ?? [];
    const after = isGone ? [] : addressesOf(service.spec ?? {});
    if (before.length === after.length && before.every((ip, i) => ip === after[i])) return;
    for (const ip of before) if (owners.get(ip)?.name === name && owners.get(ip)?.namespace === namespace) owners.delete(ip);
    for (const ip of after) owners.set(ip, { namespace, name });
    if (isGone) held.delete(key);
    else held.set(key, after);
    for (const ip of new Set([...before, ...after])) due.add(ip);
  };

  const stops = [
    store.collection({ group: "", plural: "services" }).subscribe(({ type, entry: { object } }) => {
      if (type === "DELETED") releaseReservations(store, object);
      learn(object, type === "DELETED");
    }),
    store.collection({ group: GROUP, plural: "ipaddresses" }).subscribe(({ entry }) => {
      due.add(entry.name);
      for (const cidr of store.list(GROUP, "servicecidrs")) if (cidr.metadata?.deletionTimestamp) cidrs.add(cidr.metadata.name!);
    }),
    store.collection({ group: GROUP, plural: "servicecidrs" }).subscribe(allCidrs),
  ];
  for (const service of store.list("", "services")) learn(service, false);
  for (const address of store.list(GROUP, "ipaddresses")) due.add(address.metadata!.name!);
  allCidrs();
  return () => {
    stops.forEach((stop) => stop());
    due.stop();
    cidrs.stop();
  };
}

interface Rounds {
  add(key: string): void;
  stop(): void;
}

/** Works on keys one after another, each once however often it is added meanwhile. */
function createRounds(work: (key: string) => Promise<void>, onError: (error: unknown) => void): Rounds {
  const keys = new Set<string>();
  let isRunning = false;
  let isStopped = false;
  const run = async (): Promise<void> => {
    for (const key of keys) {
      if (isStopped) return;
      keys.delete(key);
      await work(key).catch(onError);
    }
    isRunning = false;
  };
  return {
    add(key) {
      keys.add(key);
      if (isRunning) return;
      isRunning = true;
      // Writers are answered first.
      setImmediate(() => void run());
    },
    stop: () => void (isStopped = true),
  };
}

/** Addresses that others have taken for themselves are theirs. */
async function reconcileAddress(client: KubeClient, store: AddressDeps["store"], ip: string, owner: Owner | undefined): Promise<void> {
  const found = store.get(GROUP, "ipaddresses", ip);
  const parent = found?.spec?.parentRef ?? {};
  const isRight = found && owner && parent.resource === "services" && parent.namespace === owner.namespace && parent.name === owner.name;
  const isOurs = found?.metadata?.labels?.[MANAGED_BY] === ALLOCATOR;
  if (isRight || (!found && !owner) || (found && !isOurs)) return;
  try {
    if (found) await client.delete(ipAddresses, ip);
    if (owner) await client.create(ipAddresses, ipAddress(ip, owner) as never);
  } catch (error) {
    if (!isAlreadyExists(error) && !isNotFound(error)) throw error;
  }
}

const ipAddress = (ip: string, { namespace, name }: Owner): Obj => ({
  apiVersion: `${GROUP}/v1`, kind: "IPAddress",
  metadata: { name: ip, labels: { "ipaddress.kubernetes.io/ip-family": ip.includes(":") ? "IPv6" : "IPv4", [MANAGED_BY]: ALLOCATOR } },
  spec: { parentRef: { group: "", resource: "services", namespace, name } },
});

/** A range is ready as soon as it is known; one that goes waits until no address needs it. */
async function reconcileCidr({ client, store, now }: Pick<AddressDeps, "client" | "store" | "now">, name: string): Promise<void> {
  const found = store.get(GROUP, "servicecidrs", name);
  if (!found) return;
  const { finalizers = [], deletionTimestamp } = found.metadata!;
  const isHeld = finalizers.includes(FINALIZER);
  const isNeeded = deletionTimestamp !== undefined && isInUse(store, found);
  try {
    if (deletionTimestamp === undefined ? !isHeld : isHeld && !isNeeded) {
      const next = isHeld ? finalizers.filter((one: string) => one !== FINALIZER) : [...finalizers, FINALIZER];
      await client.update(serviceCidrs, { ...found, metadata: { ...found.metadata, finalizers: next } } as never);
      return;
    }
    const before = found.status?.conditions;
    const conditions = setCondition(before, deletionTimestamp === undefined ? ready(name) : terminating, timestamp(now()));
    if (conditions !== before) await client.update(serviceCidrs, { ...found, status: { ...found.status, conditions } } as never, { subresource: "status" });
  } catch (error) {
    // Its own change brings us here again.
    if (!isConflict(error) && !isNotFound(error)) throw error;
  }
}

const ready = (name: string) => ({
  type: "Ready", status: "True", reason: "", message: `Kubernetes ${name === "kubernetes" ? "default " : ""}Service CIDR is ready`,
});
const terminating = {
  type: "Ready", status: "False", reason: "Terminating",
  message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
};

/** Whether an address lies in its ranges and in those of no other. */
function isInUse(store: AddressDeps["store"], cidr: Obj): boolean {
  const rangesOf = (one: Obj): Cidr[] => ((one.spec?.cidrs ?? []) as string[]).map(parseCidr).filter((range) => range !== undefined);
  const own = rangesOf(cidr);
  const others = store.list(GROUP, "servicecidrs")
    .filter((one) => one.metadata!.name !== cidr.metadata!.name && !one.metadata?.deletionTimestamp).flatMap(rangesOf);
  const isIn = (ranges: readonly Cidr[], ip: string): boolean => ranges.some((range) => cidrContains(range, ip));
  return store.list(GROUP, "ipaddresses").some(({ metadata }) => isIn(own, metadata!.name!) && !isIn(others, metadata!.name!));
}
