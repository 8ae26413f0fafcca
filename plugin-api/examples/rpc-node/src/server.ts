/** A pod network as a program of its own: gRPC on a unix socket, found by one line on stdout. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Server, ServerCredentials, loadPackageDefinition, type GrpcObject, type ServiceClientConstructor } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { fromStruct, toStruct, type Struct } from "@k3s-p/plugin-api/wire/struct";

type Json = Record<string, any>;

let list: Json = {};
let file = "";

/** Where the runtime looks, which is another place when another runtime has taken over. */
function install({ cni: { confDir } }: Json): void {
  mkdirSync(confDir, { recursive: true });
  uninstall();
  file = join(confDir, "10-rpc-node.conflist");
  writeFileSync(file, JSON.stringify(list));
}

function uninstall(): void {
  if (file) rmSync(file, { force: true });
}

/** One function a call; plain JSON in, plain JSON out. */
const calls: Readonly<Record<string, (request: Json) => Json>> = {
  Describe: () => ({ provides: "cni", needs: { runtime: "runtime" }, parts: ["health", "replaced"] }),
  Start({ config, slots }) {
    const ipam = { type: "host-local", ranges: [[{ subnet: config.subnet }]] };
    list = { cniVersion: "1.0.0", name: "rpc-node", plugins: [{ type: "bridge", bridge: "rpcnode0", isDefaultGateway: true, ipam }] };
    install(slots.runtime);
    return { data: { confList: list }, methods: ["status"] };
  },
  Call: ({ method }) => ({ value: method === "status" ? { ready: existsSync(file) } : null }),
  Health: () => (existsSync(file) ? { ok: true } : { ok: false, message: `${file} is gone` }),
  Reconfigure: () => ({ answer: "restart" }),
  Replaced({ slot, value }) {
    if (slot === "runtime") install(value);
    return {};
  },
  Stop() {
    uninstall();
    return {};
  },
};

function service(proto: string, ...path: readonly string[]) {
  const definition = loadSync(fileURLToPath(import.meta.resolve(`@k3s-p/plugin-api/wire/${proto}`)), { enums: String, defaults: false });
  const found = path.reduce<GrpcObject>((at, key) => at[key] as GrpcObject, loadPackageDefinition(definition));
  return (found as unknown as ServiceClientConstructor).service;
}

type Done = (error: Error | null, response?: object) => void;

const server = new Server();
server.addService(service("health.proto", "grpc", "health", "v1", "Health"), { Check: (_: unknown, done: Done) => done(null, { status: "SERVING" }) });
server.addService(service("plugin.proto", "k3sp", "v1", "Plugin"), Object.fromEntries(Object.entries(calls).map(([name, fn]) => [
  name,
  ({ request }: { request: Struct }, done: Done) => {
    try {
      done(null, toStruct(fn(fromStruct(request))));
    } catch (error) {
      done(error as Error);
    }
  },
])));

if (!process.env.K3SP_PLUGIN) {
  console.error("this program is a k3s-p plugin: k3s-p server --plugin ./plugin-api/examples/rpc-node");
  process.exit(1);
}
const path = join(process.env.K3SP_RUN!, "plugin.sock");
rmSync(path, { force: true });
server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
  console.log(`k3sp|1|1.0|unix|${path}|grpc`);
});
function end(): void {
  rmSync(path, { force: true });
  process.exit(0);
}
process.on("SIGTERM", end);
// The server holds the other end: it is gone when this one ends.
process.stdin.resume().on("end", end);
