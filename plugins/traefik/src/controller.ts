/** Follows Ingresses and their classes: the routing table, the status, and complaints about what cannot be served. */
import {
  type EventRecorder, type Ingress, ingressClasses, ingresses, keyOf, type KubeClient, type Service, services, splitKey, workQueue,
} from "@k3s-p/plugin-api/kube";
import { compileRoutes, type RouteTable, unsupportedAnnotation } from "./routes.ts";

const CONTROLLER = "traefik.io/ingress-controller";
export const NAMESPACE = "kube-system";
export const SERVICE = "traefik";

/** As Traefik, which gathers changes for so long: whoever writes a status of its own can finish before it is set back. */
const SETTLE_MS = 2_000;

export interface IngressController {
  readonly synced: Promise<void>;
  routes(): RouteTable;
  /** Ingresses of this controller's class. */
  own(): readonly Ingress[];
  onChange(fn: () => void): void;
  stop(): Promise<void>;
}

export function ingressController(client: KubeClient, ingressClass: string, recorder: EventRecorder): IngressController {
  const all = client.informer(ingresses);
  const classes = client.informer(ingressClasses);
  const service = client.informer(services, { namespace: NAMESPACE });
  const listeners: (() => void)[] = [];
  let table: RouteTable | undefined;
  const queue = workQueue({ name: "ingress-status", reconcile: updateStatus, backoff: [100, 60_000] });

  function isOwn(ingress: Ingress): boolean {
    const named = ingress.spec?.ingressClassName;
    if (named) return classes.get(named)?.spec?.controller === CONTROLLER;
    const annotated = ingress.metadata.annotations?.["kubernetes.io/ingress.class"];
    return annotated === undefined || annotated === "" || annotated === ingressClass;
  }
  const own = () => all.list().filter((ingress) => !ingress.metadata.deletionTimestamp && isOwn(ingress));

  async function updateStatus(key: string): Promise<void> {
    const [namespace, name] = splitKey(key);
    const ingress = all.get(name, namespace);
    if (!ingress || !isOwn(ingress)) return;
    const wanted = addressesOf(service.get(SERVICE, NAMESPACE));
    if (JSON.stringify(wanted) === JSON.stringify((ingress.status?.loadBalancer?.ingress ?? []).map(plainAddress))) return;
    await client.patch(ingresses, name, { status: { loadBalancer: { ingress: wanted } } }, { namespace, subresource: "status", type: "merge" });
  }

  function changed(): void {
    table = undefined;
    for (const listener of listeners) listener();
  }
  /** The first address comes at once. */
  function publish(ingress: Ingress): void {
    if (ingress.status?.loadBalancer?.ingress?.length) queue.addAfter(keyOf(ingress), SETTLE_MS);
    else queue.add(keyOf(ingress));
  }
  function note(ingress: Ingress): void {
    changed();
    if (!isOwn(ingress)) return;
    publish(ingress);
    const annotation = unsupportedAnnotation(ingress);
    if (annotation) recorder.record(ingress, "Warning", "UnsupportedAnnotation", `${annotation} is not supported by the embedded ingress; the Ingress is answered with 404`);
  }
  all.on({
    added: note,
    updated: (ingress, before) => (ingress.metadata.generation !== before.metadata.generation || !sameMeta(ingress, before) ? note(ingress) : publish(ingress)),
    deleted: changed,
  });
  const everything = () => {
    changed();
    for (const ingress of own()) queue.add(keyOf(ingress));
  };
  classes.on({ added: everything, updated: everything, deleted: everything });
  const published = (next: Service) => {
    if (next.metadata.name === SERVICE) for (const ingress of own()) queue.add(keyOf(ingress));
  };
  service.on({ added: published, updated: published });

  return {
    synced: Promise.all([all.synced, classes.synced, service.synced]).then(() => undefined),
    routes: () => (table ??= compileRoutes(own())),
    own,
    onChange: (fn) => void listeners.push(fn),
    async stop() {
      for (const informer of [all, classes, service]) informer.stop();
      await queue.stop();
    },
  };
}

const sameMeta = (a: Ingress, b: Ingress): boolean =>
  a.metadata.generation !== undefined && JSON.stringify(a.metadata.annotations) === JSON.stringify(b.metadata.annotations);

interface Address {
  readonly ip?: string;
  readonly hostname?: string;
}
const plainAddress = ({ ip, hostname }: Address): Address => ({ ...(ip && { ip }), ...(hostname && { hostname }) });
const addressesOf = (service: Service | undefined): readonly Address[] => (service?.status?.loadBalancer?.ingress ?? []).map(plainAddress);
