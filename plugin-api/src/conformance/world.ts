/** The fakes that a plugin is tested with: one for each slot that it may need, on one small pretended node. */
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fakeKube, type FakeKube } from "../kube/fake.ts";
import * as resources from "../kube/resources.ts";
import { apiVersionOf, defineResource, type Resource } from "../kube/resources.ts";
import type { KubeObject } from "../kube/types.ts";
import type { Deployer } from "../slots/cluster.ts";
import type { NodeInfo, Pki } from "../refs.ts";
import { localRunner, testNode } from "../testing.ts";
import { memoryDatastore } from "../testing-datastore.ts";
import { fakeRuntime, type FakeRuntime } from "./fake-runtime.ts";
import { certificate, privateKey } from "./certificate.fixture.ts";

export interface WorldOptions {
  /** Goes before every command that the plugin runs: `ip netns exec x`. */
  readonly prefix?: readonly string[];
  readonly node?: Partial<NodeInfo>;
  /** Default `10.42.0.0/24`. */
  readonly podCidr?: string;
  /** The cluster of another world: this is one more node of it. */
  readonly kube?: FakeKube;
}

export interface World {
  readonly kube: FakeKube;
  readonly node: NodeInfo;
  readonly runtime: FakeRuntime;
  /** By the slot's id. */
  readonly slots: Readonly<Record<string, unknown>>;
}

const builtin = (Object.values(resources) as unknown[]).filter((value): value is Resource => typeof value === "object" && value !== null && "plural" in value);
const addons = defineResource("k3s.cattle.io", "v1", "addons", "Addon");

export async function createWorld(dir: string, options: WorldOptions = {}): Promise<World> {
  const { podCidr = "10.42.0.0/24", kube = fakeKube({ serve: [...builtin, addons] }) } = options;
  const node = testNode(dir, options.node, { bindAddress: "127.0.0.1", httpsListenPort: 0 });
  for (const name of ["default", "kube-system"]) kube.put(resources.namespaces, { metadata: { name }, status: { phase: "Active" } });
  kube.put(resources.nodes, {
    metadata: { name: node.name, labels: { "kubernetes.io/hostname": node.name } }, spec: { podCIDR: podCidr, podCIDRs: [podCidr] },
    status: { addresses: [{ type: "InternalIP", address: node.ip }], conditions: [{ type: "Ready", status: "True" }] },
  });
  const runner = localRunner(options.prefix);
  const apiserver = { url: "https://127.0.0.1:6443", port: 6443, client: () => kube };
  const runtime = { ...fakeRuntime(), cni: { confDir: node.paths.cniConf, binDir: node.paths.cniBin } };
  const slots = { apiserver, datastore: memoryDatastore(), deployer: fakeDeployer(kube, node), kube, node, pki: fakePki(dir), runner, runtime };
  return { kube, node, runtime, slots };
}

/** Puts the objects of a manifest into the fake API at once. */
function fakeDeployer(kube: FakeKube, { cluster, paths }: NodeInfo): Deployer {
  const variables: Readonly<Record<string, string>> = {
    CLUSTER_DNS: cluster.clusterDns[0]!, CLUSTER_DNS_LIST: JSON.stringify(cluster.clusterDns), CLUSTER_DOMAIN: cluster.clusterDomain,
    CLUSTER_DNS_IPFAMILYPOLICY: "SingleStack", DEFAULT_LOCAL_STORAGE_PATH: paths.storage,
  };
  const deployed = new Map<string, readonly KubeObject[]>();
  return {
    async deploy({ name, yaml }) {
      const { parseAllDocuments } = await import("yaml");
      const objects = parseAllDocuments(yaml.replace(/%\{(\w+)\}%/g, (_, name: string) => variables[name] ?? "")).map((doc) => doc.toJS() as KubeObject | null).filter((object) => object !== null);
      for (const object of objects) kube.put(resourceOf(object), object);
      deployed.set(name, objects);
    },
    async remove(name) {
      for (const object of deployed.get(name) ?? []) kube.drop(resourceOf(object), object.metadata!.name!, object.metadata!.namespace);
      deployed.delete(name);
    },
  };
}

function resourceOf({ apiVersion = "v1", kind = "" }: KubeObject): Resource {
  const found = builtin.find((r) => r.kind === kind && apiVersionOf(r) === apiVersion);
  const [version = "v1", group = ""] = apiVersion.split("/").reverse();
  return found ?? defineResource(group, version, `${kind.toLowerCase()}s`, kind);
}

/** One certificate for `localhost` signs itself and is everybody's. */
function fakePki(dir: string): Pki {
  const folder = join(dir, "pki");
  mkdirSync(folder, { recursive: true });
  const certPath = join(folder, "localhost.crt");
  const keyPath = join(folder, "localhost.key");
  writeFileSync(certPath, certificate);
  writeFileSync(keyPath, privateKey, { mode: 0o600 });
  return {
    ca: () => ({ cert: certificate, certPath }),
    issue: async () => ({ cert: certificate, key: privateKey, certPath, keyPath }),
    certify: async () => certificate,
    async serviceAccountKey() {
      const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
      const pem = { publicKey: pair.publicKey.export({ type: "spki", format: "pem" }), privateKey: pair.privateKey.export({ type: "pkcs8", format: "pem" }) };
      return { publicKey: String(pem.publicKey), privateKey: String(pem.privateKey), path: join(folder, "service.key") };
    },
  };
}
