/** `k3s-p plugin new NAME [--slot SLOT]`: writes a plugin that works, to go on from. */
import { existsSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { findPackageJSON } from "node:module";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { isPlugin, k3spError, makeFolder, type Plugin, type Slot } from "@k3s-p/plugin-api";
import { kernelSlots, slotCatalogue } from "@k3s-p/plugin-api/slots";
import { didYouMean } from "../kernel/manifest.ts";
import { parseWords } from "./words.ts";

interface Template {
  /** Its code is that of an example, under another name. */
  readonly example?: string;
  /** Files beside plugin.ts: template -> name in `src`. */
  readonly more?: Readonly<Record<string, string>>;
  readonly options?: Readonly<Record<string, { readonly type: string; readonly default: unknown; readonly description: string; readonly pattern?: string }>>;
  readonly does: string;
  /** For the README, and for the manifest: a plugin in a process of its own gets no more. */
  readonly permissions: string;
  readonly grants?: object;
  /** Parts that are the author's to write before the slot's suite passes. */
  readonly unfinished?: string;
  /** For slots whose methods answer at once, which no other process can. */
  readonly inline?: true;
}

const reads = (what: string): string => `Reads ${what} of the cluster.`;
const rule = (group: string, resources: readonly string[], ...verbs: readonly string[]) => ({ groups: [group], resources, verbs });
const view = ["get", "list", "watch"];
const endpointRules = [rule("", ["services"], ...view), rule("discovery.k8s.io", ["endpointslices"], ...view)];

/** Slot, or `controller` for none. The code is in plugin-api/examples/templates, or that of an example. */
export const templates: Readonly<Record<string, Template>> = {
  apiserver: { inline: true, does: "Serves the Kubernetes API.", permissions: "The datastore and the cluster's keys.", unfinished: "client" },
  cni: {
    example: "my-cni", more: { "leases.ts": "leases.ts", "network.ts": "network.ts" },
    does: "Gives each pod an address of `subnet` on a bridge, leads host ports to it, and masquerades what leaves the node.",
    options: { subnet: { type: "string", default: "10.77.0.0/24", description: "range that pods on this node get their addresses from", pattern: "^\\d+\\.\\d+\\.\\d+\\.\\d+/\\d+$" } },
    permissions: "Root. Runs `ip`, `nft`, `nsenter` and `sh`, listens on a socket in its own folder, and writes one file and one program into the runtime's CNI folders.",
    grants: { exec: ["ip", "nft", "nsenter", "sh"], net: true, fs: { write: ["{cniConf}", "{cniBin}"] } },
  },
  controller: {
    does: "Writes an annotation on every Namespace that has the label `note`.",
    options: { text: { type: "string", default: "hello", description: "text of the annotation" } },
    permissions: "Namespaces: get, list, watch, patch.", grants: { kube: [rule("", ["namespaces"], ...view, "patch")] },
  },
  "controller-manager": { does: "Runs controllers of your own in place of the built-in ones.", permissions: "What its controllers read and write.", grants: { kube: [rule("", ["namespaces"], ...view), rule("", ["serviceaccounts"], "create")] } },
  datastore: { inline: true, more: { "datastore-journal.ts": "datastore-journal.ts" }, does: "Keeps the cluster in memory, with a journal on disk.", permissions: "Its own data folder." },
  deployer: { does: "Applies manifests as AddOns.", permissions: "Whatever the manifests hold.", unfinished: "deploy, remove" },
  dns: {
    more: { "dns-wire.ts": "dns-wire.ts", "dns-zone.ts": "dns-zone.ts" },
    does: "Answers the names of Services and endpoints over UDP and TCP, and deploys the Service `kube-dns` that leads to it.",
    options: { ttl: { type: "integer", default: 5, description: "seconds for which clients may keep an answer" } },
    permissions: `${reads("Services and EndpointSlices")} Writes one EndpointSlice. One port on the node's address.`,
    grants: { net: true, kube: [...endpointRules, rule("discovery.k8s.io", ["endpointslices"], "create", "patch", "delete")] },
  },
  ingress: {
    more: { "ingress-routes.ts": "ingress-routes.ts" },
    does: "Sends HTTP requests to the Services that Ingresses of its class name, by host and path.",
    options: { port: { type: "integer", default: 0, description: "port on the node's address; 0 is any free one" } },
    permissions: `${reads("Ingresses, Services and EndpointSlices")} One port on the node's address.`,
    grants: { net: true, kube: [...endpointRules, rule("networking.k8s.io", ["ingresses"], ...view)] },
  },
  kubelet: { does: "Registers this node.", unfinished: "pods", permissions: "Nodes: create, patch. One port on the node's address.", grants: { net: true, kube: [rule("", ["nodes", "nodes/status"], "create", "patch")] } },
  loadbalancer: { does: "Gives Services of its class the address of this node.", permissions: "Services: get, list, watch; their status: patch.", grants: { kube: [rule("", ["services"], ...view), rule("", ["services/status"], "patch")] } },
  metrics: { does: "Answers the API `metrics.k8s.io`.", permissions: "A certificate, and one port on the node's address.", grants: { net: true } },
  "network-policy": { does: "Follows NetworkPolicies and pods.", permissions: reads("NetworkPolicies and pods"), grants: { kube: [rule("", ["pods"], ...view), rule("networking.k8s.io", ["networkpolicies"], ...view)] }, unfinished: "apply" },
  proxy: {
    more: { "proxy-rules.ts": "proxy-rules.ts" },
    does: "Leads Service addresses and node ports to endpoints with one nftables table.",
    permissions: `Root. Runs \`nft\`. ${reads("Services and EndpointSlices")}`, grants: { exec: ["nft"], kube: endpointRules },
  },
  runtime: {
    does: "Speaks CRI to a container runtime.", unfinished: "every call of CRI", permissions: "The runtime's socket.", grants: { net: true },
    options: { endpoint: { type: "string", default: "unix:///run/my-runtime.sock", description: "socket of the runtime" } },
  },
  scheduler: { does: "Binds each pod to the ready node with the fewest pods.", unfinished: "which nodes a pod may go to", permissions: "Pods and Nodes: get, list, watch. Bindings: create.", grants: { kube: [rule("", ["pods", "nodes"], ...view), rule("", ["pods/binding"], "create")] } },
  storage: { does: "Makes a hostPath volume for each claim of its StorageClasses.", permissions: "Claims and StorageClasses: get, list, watch. PersistentVolumes: all. Its own data folder.", grants: { kube: [rule("", ["persistentvolumeclaims"], ...view), rule("storage.k8s.io", ["storageclasses"], ...view), rule("", ["persistentvolumes"], ...view, "create", "delete")] } },
};

export const usage = "plugin new NAME [--slot SLOT]";
const apiFolder = (): string => dirname(findPackageJSON("@k3s-p/plugin-api", import.meta.url)!);

export async function run(argv: readonly string[]): Promise<number> {
  const { words: [where = ""], flags } = parseWords(argv, usage, 1, ["slot"]);
  const slot = flags.get("slot") ?? "controller";
  const folder = resolve(where);
  const name = folder.split("/").at(-1)!;
  check(name, slot, folder);
  await makeFolder(folder).catch((cause: Error) => {
    throw k3spError("K3SP_PERMISSION_DENIED", { message: `${folder} cannot be made: ${cause.message}`, fix: "name a folder that this user may write", cause });
  });
  const files = await render(name, slot);
  for (const [path, text] of Object.entries(files)) {
    await makeFolder(dirname(join(folder, path)));
    writeFileSync(join(folder, path), text);
  }
  await link(folder);
  const { unfinished, inline } = templates[slot]!;
  const lines = [
    ...Object.keys(files).map((path) => `  ${join(where, path)}`), "",
    ...(unfinished ? [`yours to write: ${unfinished}; until then the suite of the slot fails`] : []),
    ...(inline ? [`it runs in the server's own process: start the server with --allow-inline ${name}`] : []),
    `next: k3s-p plugin test ${where}`,
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
  return 0;
}

function check(name: string, slot: string, folder: string): void {
  if (!/^[a-z][a-z0-9-]{0,40}[a-z0-9]$/.test(name)) {
    throw k3spError("K3SP_FLAG_INVALID", { message: `"${name}" cannot be a plugin's name`, fix: "use 2 to 42 lower-case letters, digits and dashes, such as my-cni" });
  }
  if (!Object.hasOwn(templates, slot)) {
    const known = slotCatalogue.filter((s) => !s.derive && !kernelSlots.includes(s.id)).map((s) => s.id).sort();
    throw k3spError("K3SP_SLOT_UNKNOWN", { message: `no slot is named "${slot}"${didYouMean(slot, known)}`, fix: `use one of ${known.join(", ")}` });
  }
  if (existsSync(folder) && readdirSync(folder).length) {
    throw k3spError("K3SP_FLAG_INVALID", { message: `${folder} is not empty`, fix: "give another name, or remove the folder" });
  }
}

/** Path -> text. The manifest says what the code of the template declares. */
async function render(name: string, slot: string): Promise<Record<string, string>> {
  const { more = {}, example } = templates[slot]!;
  const dir = join(apiFolder(), "examples", example ? `${example}/src` : "templates");
  const [itsName, itsLink] = example ? [example, linkOf(example)] : ["TEMPLATE_NAME", "TEMPLATE_LINK"];
  const source = (file: string) => readFileSync(join(dir, file), "utf8").replaceAll(itsName, name).replaceAll(itsLink, linkOf(name));
  const main = example ? "plugin.ts" : `${slot}.ts`;
  const { default: plugin } = (await import(pathToFileURL(join(dir, main)).href)) as { default: unknown };
  if (!isPlugin(plugin)) throw new TypeError(`the template ${slot} is not a plugin`);
  const options = templates[slot]!.options ?? {};
  return {
    "package.json": text(manifest(name, plugin, slot)),
    "config.schema.json": text({ $schema: "https://json-schema.org/draft/2020-12/schema", type: "object", properties: options, additionalProperties: false }),
    "README.md": readme(name, slot),
    "src/plugin.ts": source(main),
    ...Object.fromEntries(Object.entries(more).map(([from, to]) => [`src/${to}`, source(from)])),
    "src/conformance.test.ts": 'import { conformance } from "@k3s-p/plugin-api/conformance/node-test";\n\nawait conformance(new URL("..", import.meta.url));\n',
    ".github/workflows/test.yml": workflow,
  };
}

/** Names of links have at most 15 characters. */
const linkOf = (name: string): string => `${name.replaceAll("-", "").slice(0, 13)}0`;

const text = (value: object): string => `${JSON.stringify(value, null, 2)}\n`;

function manifest(name: string, { definition }: Plugin, slot: string): object {
  const { options = {}, grants, inline } = templates[slot]!;
  const { provides, needs = {} } = definition as { provides?: Slot<unknown>; needs?: Record<string, Slot<unknown>> };
  const api = JSON.parse(readFileSync(join(apiFolder(), "package.json"), "utf8")) as { version: string };
  return {
    name, version: "0.1.0", description: "A plugin for k3s-p", type: "module", exports: "./src/plugin.ts",
    scripts: { test: "node --test" },
    k3sp: {
      api: `^${api.version}`, roles: ["server", "agent"], ...(provides && { provides: { [provides.id]: provides.contract } }),
      needs: Object.fromEntries(Object.values(needs).map(({ id, contract }) => [id, `^${contract.split(".")[0]}`])),
      config: "./config.schema.json", criticality: "required", ...(inline && { isolation: "inline" }), ...(grants && { permissions: grants }),
      example: Object.fromEntries(Object.entries(options).map(([option, schema]) => [option, schema.default])),
    },
    peerDependencies: { "@k3s-p/plugin-api": `^${api.version}` },
  };
}

function readme(name: string, slot: string): string {
  const { does, options = {}, permissions } = templates[slot]!;
  const rows = Object.entries(options).map(([option, schema]) => `| \`${option}\` | \`${JSON.stringify(schema.default)}\` | ${schema.description} |`);
  const table = rows.length ? ["| option | default | meaning |", "|---|---|---|", ...rows] : ["None."];
  const section = Object.entries(options).map(([option, schema]) => `      ${option}: ${JSON.stringify(schema.default)}`);
  const example = ["```yaml k3sp", "plugin:", `  - ./${name}`, ...(section.length ? ["plugins:", `  ${name}:`, "    config:", ...section] : []), "```"];
  return [
    `# ${name}`, "", "## What it does", "", does, "", "## Config", "", ...table, "", "## Examples", "", `    k3s-p server --plugin ./${name}`, "", ...example, "",
    "## Health", "", "Ready once it has started.", "", "## Permissions", "", permissions, "",
  ].join("\n");
}

const workflow = `name: test
on: [push, pull_request]
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-node@v4
        with: {node-version: 26}
      - run: npm install
      - run: sudo env "PATH=$PATH" npm test
`;

/** The plugin finds the API of the k3s-p that made it; `npm install` puts a released one in its place. */
async function link(folder: string): Promise<void> {
  await makeFolder(join(folder, "node_modules/@k3s-p"));
  symlinkSync(apiFolder(), join(folder, "node_modules/@k3s-p/plugin-api"), "dir");
}
