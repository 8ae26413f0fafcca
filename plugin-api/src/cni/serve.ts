/** A pod network written as functions: the runtime executes a tiny program, which calls them over a unix socket. */
import { mkdir, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { cniShim, shimMachines, type ShimMachine } from "./shim.ts";
import { installCni, type CniContext } from "./install.ts";
import { cniVersions } from "./version.ts";
import { replaceFile } from "../files.ts";
import type { Cni, CniConfList } from "../slots/node.ts";

/** One call of the runtime, as the CNI specification 1.1 has it. */
export interface CniCall {
  readonly containerId: string;
  /** Path of the pod's network namespace; empty when DEL comes after it has gone. */
  readonly netns: string;
  /** Name of the interface inside of the pod. */
  readonly ifname: string;
  /** CNI_ARGS: `K8S_POD_NAMESPACE`, `K8S_POD_NAME` and others. */
  readonly args: Readonly<Record<string, string>>;
  /** Ports of the node that lead to the pod, for a service with the capability `portMappings`. */
  readonly portMappings: readonly CniPortMapping[];
  /** The plugin's entry of the list, with `prevResult` and `runtimeConfig`. */
  readonly config: Readonly<Record<string, unknown>>;
}

export interface CniPortMapping {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: "tcp" | "udp" | "sctp";
  /** Only on this address of the node. */
  readonly hostIP?: string;
}

/** The result of ADD; `cniVersion` is filled in. */
export interface CniResult {
  readonly interfaces?: readonly { readonly name: string; readonly mac?: string; readonly mtu?: number; readonly sandbox?: string }[];
  /** `address` is `10.42.0.5/24`; `interface` the index of the pod's own in `interfaces`, which containerd insists on. */
  readonly ips?: readonly { readonly address: string; readonly gateway?: string; readonly interface: number }[];
  readonly routes?: readonly { readonly dst: string; readonly gw?: string }[];
  readonly dns?: Readonly<Record<string, unknown>>;
}

/**
 * What the runtime asks for. An error becomes the error that the runtime reads: its code is the error's own `code` when
 * that is a number, else 999.
 */
export interface CniFunctions {
  add(call: CniCall): Promise<CniResult>;
  /** Also called twice, without an ADD before, and when the namespace has gone: all of that is a success. */
  del(call: CniCall): Promise<void>;
  /** Rejects when the pod is not connected as ADD left it. */
  check?(call: CniCall): Promise<void>;
  /** Whether the next ADD can work. */
  status?(): Promise<{ readonly ready: boolean; readonly message?: string }>;
  /**
   * Removes what an attachment of this network left that is not among the valid ones: its links, its address, its rules.
   * Neither an ADD nor a DEL is under way. What belongs to nobody, such as a bridge that all pods share, stays.
   */
  gc?(valid: readonly CniAttachmentId[]): Promise<void>;
}

/** Which interface of which pod, as GC names it. */
export interface CniAttachmentId {
  readonly containerID: string;
  readonly ifname: string;
}

export interface CniService extends CniFunctions {
  /** Of the network, of the program in the runtime's folder, and of the list: `10-NAME.conflist`. */
  readonly name: string;
  /** What the runtime is to put into `runtimeConfig` of each call: `{ portMappings: true }`. */
  readonly capabilities?: Readonly<Record<string, boolean>>;
  /** Other programs of the list, run after this one: `{ type: "portmap", capabilities: { portMappings: true } }`. */
  readonly chain?: readonly Readonly<Record<string, unknown>>[];
}

/** What `serveCni` uses of a plugin's context. */
export interface CniServeContext extends CniContext {
  readonly dirs: { readonly run: string };
}

/** For runtimes that know no list of versions, such as containerd 1.6, which knows none above it. */
const cniVersion = "1.0.0";

/**
 * Serves the functions, then puts the program and the list in place; what it returns provides the slot `cni`. Works in
 * the server's process and in one of the plugin's own, which needs `"permissions": { "net": true }` for its socket. While
 * the plugin is down the program answers with code 11, which the runtime tries again. With `gc` the list offers the
 * version 1.1.0 too, so that a runtime that knows it calls STATUS and GC; not with a chain, whose programs may not.
 */
export async function serveCni(ctx: CniServeContext, service: CniService): Promise<Cni> {
  const { name, status = async () => ({ ready: true }) } = service;
  const confList = listOf(service);
  const socket = join(ctx.dirs.run, "cni.sock");
  const { binDir } = ctx.needs.runtime.cni;
  const program = join(binDir, name);
  await mkdir(binDir, { recursive: true });
  ctx.defer(() => rm(program, { force: true }));
  await replaceFile(program, cniShim(machine(), socket, `${JSON.stringify(answerOf({ code: 11, message: `the network plugin ${name} is not running` }))}\n`), 0o755);
  await rm(socket, { force: true });
  const { server, sockets } = listener(service);
  ctx.defer(() => new Promise<void>((resolve) => {
    for (const open of sockets) open.destroy();
    server.close(() => resolve());
  }));
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(socket, resolve));
  await installCni(ctx, { confList, fileName: `10-${name}.conflist` });
  return { confList, status };
}

function listOf({ name, capabilities, chain = [], check, gc }: CniService): CniConfList {
  return {
    cniVersion, ...(gc && !chain.length && { cniVersions: [cniVersion, "1.1.0"] }), name, ...(!check && { disableCheck: true }),
    plugins: [{ type: name, ...(capabilities && { capabilities }) }, ...chain],
  };
}

function machine(): ShimMachine {
  const found = shimMachines.find((known) => known === process.arch);
  if (!found) throw new Error(`a CNI of functions runs on ${shimMachines.join(" and ")}, not on ${process.arch}`);
  return found;
}

function listener(service: CniService): { readonly server: Server; readonly sockets: ReadonlySet<Socket> } {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const chunks: Buffer[] = [];
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    // The runtime gave up and killed the program.
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => void chunks.push(chunk));
    socket.on("end", () => void answer(Buffer.concat(chunks), service).then((reply) => socket.end(reply)));
  });
  return { server, sockets };
}

/** The exit code as one byte, and what the program prints. */
async function answer(request: Buffer, service: CniService): Promise<Buffer> {
  let version = cniVersion;
  try {
    const { env, config } = parse(request);
    version = typeof config.cniVersion === "string" ? config.cniVersion : version;
    if (!cniVersions.includes(version)) throw failure(1, `the version ${version} is not supported`, `supported: ${cniVersions.join(", ")}`);
    const run = commands[env.CNI_COMMAND ?? ""];
    if (!run) throw failure(4, `CNI_COMMAND "${env.CNI_COMMAND ?? ""}" is none of ${Object.keys(commands).join(", ")}`);
    const result = await run(service, env, config);
    return reply(0, result && { cniVersion: version, ...result });
  } catch (error) {
    return reply(1, answerOf(error, version));
  }
}

const validKey = "cni.dev/valid-attachments";

type Env = Readonly<Record<string, string>>;
type Config = Readonly<Record<string, unknown>>;
type Command = (service: CniService, env: Env, config: Config) => Promise<object | void>;

/** The verbs of the specification. */
const commands: Readonly<Record<string, Command>> = {
  ADD: async (service, env, config) => service.add(callOf(env, config, ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"])),
  DEL: async (service, env, config) => service.del(callOf(env, config, ["CNI_CONTAINERID", "CNI_IFNAME"])),
  CHECK: async (service, env, config) => service.check?.(callOf(env, config, ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"])),
  async STATUS({ name, status }) {
    const { ready, message = `${name} is not ready` } = (await status?.()) ?? { ready: true };
    if (!ready) throw failure(50, message);
  },
  GC: async (service, _, config) => service.gc?.(validAttachments(config)),
  VERSION: async () => ({ supportedVersions: cniVersions }),
};

/** Null is Go's empty list. To take a list that is missing for an empty one would disconnect all pods. */
function validAttachments({ [validKey]: valid }: Config): readonly CniAttachmentId[] {
  const isId = (each: unknown): boolean => typeof each === "object" && each !== null && "containerID" in each && "ifname" in each;
  if (valid === null) return [];
  if (Array.isArray(valid) && valid.every(isId)) return valid as readonly CniAttachmentId[];
  throw failure(7, `GC needs "${validKey}", a list of { containerID, ifname }`);
}

function callOf(env: Env, config: Config, required: readonly string[]): CniCall {
  const missing = required.filter((name) => !env[name]);
  if (missing.length) throw failure(4, `${missing.join(", ")} ${missing.length > 1 ? "are" : "is"} not set`);
  const args = Object.fromEntries((env.CNI_ARGS ?? "").split(";").filter(Boolean).map((pair) => pair.split(/=(.*)/s).slice(0, 2)));
  return { containerId: env.CNI_CONTAINERID!, netns: env.CNI_NETNS ?? "", ifname: env.CNI_IFNAME!, args: args as Env, portMappings: portMappingsOf(config), config };
}

/** containerd writes `HostPort` where the convention says `hostPort`: programs in Go read both. */
function portMappingsOf({ runtimeConfig }: Config): readonly CniPortMapping[] {
  const { portMappings = [] } = (runtimeConfig ?? {}) as { portMappings?: readonly object[] };
  return portMappings.map((each) => {
    const { hostport, containerport, protocol = "tcp", hostip } = Object.fromEntries(Object.entries(each).map(([key, value]) => [key.toLowerCase(), value as unknown]));
    return {
      hostPort: Number(hostport), containerPort: Number(containerport), protocol: String(protocol).toLowerCase() as CniPortMapping["protocol"],
      ...(hostip !== undefined && hostip !== "" && { hostIP: String(hostip) }),
    };
  });
}

/** The variables, each ended by a zero, another zero, the configuration. */
function parse(request: Buffer): { readonly env: Env; readonly config: Config } {
  const end = request[0] === 0 ? 0 : request.indexOf("\0\0") + 1;
  const variables = request.subarray(0, end).toString().split("\0").filter(Boolean);
  const env = Object.fromEntries(variables.map((variable) => variable.split(/=(.*)/s).slice(0, 2))) as Env;
  try {
    return { env, config: JSON.parse(request.subarray(end + 1).toString()) as Config };
  } catch (cause) {
    throw failure(6, "the network configuration is not valid JSON", (cause as Error).message);
  }
}

const failure = (code: number, message: string, details?: string): Error => Object.assign(new Error(message), { code, details });

function answerOf(error: unknown, version = cniVersion): object {
  const { code, message, details } = error as { code?: unknown; message?: string; details?: unknown };
  return { cniVersion: version, code: typeof code === "number" ? code : 999, msg: message ?? String(error), ...(typeof details === "string" && { details }) };
}

const reply = (code: number, output: object | void): Buffer => Buffer.concat([Buffer.of(code), Buffer.from(output ? `${JSON.stringify(output)}\n` : "")]);
