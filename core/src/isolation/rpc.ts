/** The `rpc` mode: a program in any language that serves gRPC on a unix socket, found by one handshake line. */
import { join } from "node:path";
import { Client, credentials, status, type ServiceError } from "@grpc/grpc-js";
import { k3spError, messageOf, type K3spError, type PluginContext, type StopReason } from "@k3s-p/plugin-api";
import { parseHandshake, wireVersions, type Handshake } from "@k3s-p/plugin-api/wire/handshake";
import { fromStruct, toStruct, type Struct } from "@k3s-p/plugin-api/wire/struct";
import type { Declared, PluginHost } from "../kernel/hosts/host.ts";
import type { HostOptions } from "../kernel/hosts/index.ts";
import type { Manifest } from "../kernel/manifest.ts";
import { slotById } from "../kernel/board.ts";
import { loadError } from "../kernel/hosts/inline.ts";
import { limits } from "../kernel/policy.ts";
import { programEnv, removeCredentials } from "./environment.ts";
import { watchBeat } from "./heartbeat.ts";
import { serveSlots, type SlotCalls } from "./slot-calls.ts";
import { supervise, type Supervised } from "./supervise.ts";
import { wireServices } from "./wire.ts";

type Json = Record<string, unknown>;

const handshakeTimeout = 30_000;
const stopTimeout = 5000;
const replacedTimeout = 10_000;

export function rpcHost(options: HostOptions): PluginHost {
  const { manifest, log, connect, dirs, heartbeat = limits.healthInterval, callTimeout = 60_000 } = options;
  const exited = Promise.withResolvers<K3spError>();
  let program: Supervised | undefined;
  let client: RpcClient | undefined;
  let slotCalls: SlotCalls | undefined;
  let hears = false;
  let stopped = false;
  /** Nobody is there any more who could undo anything. */
  let gone = false;
  let endBeat = (): void => {};
  let why: StopReason = "stopped";

  /** What is told of a slot: how to reach it, or the data that its provider gave. */
  async function told(ctx: PluginContext<any, any, any>, slot: string): Promise<object | undefined> {
    const handle = ctx.slot(slot);
    return handle && slotById.get(slot)!.derive?.connect ? ((await connect(slot)) as object) : handle;
  }

  async function replaced(ctx: PluginContext<any, any, any>, slot: string): Promise<void> {
    try {
      const value = await told(ctx, slot);
      if (value) await client!.call("Replaced", { slot, value }, replacedTimeout);
    } catch (error) {
      log.warn(`it was not told that "${slot}" has been replaced: ${messageOf(error)}`);
    }
  }

  async function start(ctx: PluginContext<any, any, any>): Promise<object> {
    slotCalls!.use(ctx);
    ctx.defer((reason) => void (why = reason));
    const slots: Json = {};
    for (const slot of [...Object.keys(manifest.needs), ...Object.keys(manifest.wants)]) {
      slots[slot] = await told(ctx, slot);
      if (hears) ctx.onReplaced(slotById.get(slot)!, () => void replaced(ctx, slot));
    }
    const { data, methods } = (await client!.call("Start", { id: ctx.id, config: ctx.config, dirs: ctx.dirs, slots })) as { data?: Json; methods?: string[] };
    watch();
    const calls = (methods ?? []).map((method) => [method, async (...args: unknown[]) => (await client!.call("Call", { method, args }, callTimeout, method)).value]);
    return { ...data, ...Object.fromEntries(calls) };
  }

  /** From its start on, which has a limit of its own: a program may answer one call after the other, and `Start` take a while. */
  function watch(): void {
    if (stopped || gone) return;
    endBeat = watchBeat({ ask: () => client!.serving(heartbeat), every: heartbeat, misses: limits.healthFailures, onSilent(why) {
      gone = true;
      exited.resolve(program!.failure(why));
      program!.kill();
    } });
  }

  function abandon(): never {
    slotCalls?.close();
    removeCredentials(options);
    throw loadError(manifest, "it was stopped while it was loaded");
  }

  const parts: Readonly<Record<string, (...args: never[]) => Promise<unknown>>> = {
    start,
    health: () => client!.call("Health", {}, limits.healthTimeout),
    reconfigure: async (_: unknown, config: object) => (await client!.call("Reconfigure", { config }, callTimeout)).answer,
  };

  return {
    exited: exited.promise,
    get pid() { return program?.pid; },
    async load() {
      const greeted = Promise.withResolvers<Handshake>();
      const host = join(dirs.run, manifest.id, "host.sock");
      slotCalls = await serveSlots(manifest, host);
      const found = await programEnv(options);
      // Whoever stopped it meanwhile had nothing to end yet.
      if (stopped) return abandon();
      const env = { ...found, K3SP_HOST: host, K3SP_WIRE: wireVersions.join(","), K3SP_CONTRACTS: JSON.stringify(contracts(manifest)) };
      program = supervise({
        manifest, log, env,
        onLine(line) {
          const found = parseHandshake(line);
          if (typeof found === "string") greeted.reject(loadError(manifest, `its handshake is not valid: ${found}`));
          else if (found) greeted.resolve(found);
          return found !== undefined;
        },
      });
      void program.ended.then((error) => {
        gone = true;
        endBeat();
        greeted.reject(error);
        client?.close();
        slotCalls?.close();
        if (!stopped) exited.resolve(error);
      });
      const late = setTimeout(() => greeted.reject(lateError(manifest, `it printed no handshake within ${handshakeTimeout / 1000} s`, "print k3sp|1|1.0|unix|PATH|grpc when the socket listens")), handshakeTimeout);
      const { path, contract } = await greeted.promise.finally(() => clearTimeout(late));
      checkContract(manifest, contract);
      client = connectTo(path, manifest);
      await client.serving(handshakeTimeout);
      const described = await client.call("Describe", {});
      hears = ((described.parts ?? []) as readonly string[]).includes("replaced");
      return declaredFrom(described);
    },
    call: ((part: string, ...args: never[]) => parts[part]!(...args)) as PluginHost["call"],
    async stop() {
      stopped = true;
      endBeat();
      if (!gone) await client?.call("Stop", { why }, stopTimeout).catch((error: Error) => {
        log.warn(`its undo steps failed: ${error.message}`);
        if (isLate(error.cause)) program!.kill();
      });
      client?.close();
      await program?.stop();
      removeCredentials(options);
      slotCalls?.close();
    },
  };
}

const contracts = (manifest: Manifest): Json => Object.fromEntries(Object.keys(manifest.provides).map((slot) => [slot, slotById.get(slot)!.contract]));

/** The child picks the version; a minor that this host does not know only adds members. */
function checkContract(manifest: Manifest, contract: string): void {
  for (const [slot, own] of Object.entries(contracts(manifest))) {
    if (contract.split(".")[0] !== String(own).split(".")[0]) throw loadError(manifest, `it speaks ${slot} ${contract}, and this host ${slot} ${own}`);
  }
}

const declaredFrom = ({ provides, needs, wants, parts }: Json): Declared => ({
  ...(provides ? { provides: String(provides) } : {}), needs: (needs ?? {}) as Declared["needs"], wants: (wants ?? {}) as Declared["wants"],
  parts: new Set(((parts ?? []) as ("health" | "reconfigure")[]).filter((part) => part === "health" || part === "reconfigure")),
});

interface RpcClient {
  /** `timeout` in milliseconds, left out where the kernel has one; `what` is how an error names the call. */
  call(method: string, request: object, timeout?: number, what?: string): Promise<Json>;
  /** Resolves when the standard health service says SERVING. */
  serving(timeout: number): Promise<void>;
  close(): void;
}

/** It may be slow for once: another attempt may go better. */
const lateError = ({ id, version }: Manifest, message: string, fix: string): K3spError =>
  k3spError("K3SP_PLUGIN_START_TIMEOUT", { message: `${id} ${version}: ${message}`, plugin: id, fix });

const isLate = (error: unknown): boolean => (error as Partial<ServiceError> | undefined)?.code === status.DEADLINE_EXCEEDED;

type Unary = (request: object, options: { deadline?: number }, done: (error: ServiceError | null, response: Struct & { status?: string }) => void) => void;

function connectTo(path: string, manifest: Manifest): RpcClient {
  const api = wireServices();
  const address = `unix:${path}`;
  const plugin = new api.plugin(address, credentials.createInsecure()) as Client & Record<string, Unary>;
  const health = new api.health(address, credentials.createInsecure()) as Client & Record<string, Unary>;
  const unary = (client: Client & Record<string, Unary>, method: string, request: object, timeout: number | undefined, what = method) =>
    new Promise<Struct & { status?: string }>((resolve, reject) => client[method]!(request, timeout ? { deadline: Date.now() + timeout } : {}, (error, response) => {
      if (!error) return resolve(response);
      const why = isLate(error) && timeout ? `"${what}" was not answered within ${timeout / 1000} s` : error.details || error.message;
      reject(k3spError("K3SP_PLUGIN_CRASHED", { message: `${manifest.id}: ${why}`, plugin: manifest.id, cause: error }));
    }));
  return {
    call: async (method, request, timeout, what) => fromStruct(await unary(plugin, method, toStruct(request), timeout, what)),
    async serving(timeout) {
      const { status } = await unary(health, "Check", { service: "" }, timeout);
      if (status !== "SERVING") throw lateError(manifest, `its health service says ${status}`, "let it say SERVING from the handshake on");
    },
    close() {
      plugin.close();
      health.close();
    },
  };
}
