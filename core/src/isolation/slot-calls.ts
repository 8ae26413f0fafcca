/** Where an `rpc` plugin calls the slots that it needs: the service `k3sp.v1.Host` on a socket in its run folder. */
import { chmodSync, chownSync, rmSync } from "node:fs";
import { Server, ServerCredentials, status, type ServiceError } from "@grpc/grpc-js";
import { messageOf, type PluginContext } from "@k3s-p/plugin-api";
import { fromStruct, toStruct, type Struct } from "@k3s-p/plugin-api/wire/struct";
import type { Manifest } from "../kernel/manifest.ts";
import { uidOf } from "./confine.ts";
import { wireServices } from "./wire.ts";

export interface SlotCalls {
  /** From now on the slots of this context answer. */
  use(ctx: Pick<PluginContext, "slot">): void;
  close(): void;
}

type Unary = (call: { readonly request: Struct }, done: (error: Partial<ServiceError> | null, response?: object) => void) => void;

/** The socket is for the plugin's own user alone. */
export async function serveSlots(manifest: Manifest, path: string): Promise<SlotCalls> {
  let ctx: Pick<PluginContext, "slot"> | undefined;
  const call: Unary = ({ request }, done) => void callSlot(ctx, fromStruct(request)).then(
    (value) => done(null, toStruct({ value })),
    (error: unknown) => done({ code: status.FAILED_PRECONDITION, details: messageOf(error) }),
  );
  const server = new Server();
  server.addService(wireServices().host.service, { Call: call as never });
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) => (error ? reject(error) : resolve())));
  chmodSync(path, 0o600);
  const uid = uidOf(manifest);
  if (uid !== undefined) chownSync(path, uid, uid);
  return {
    use: (next) => void (ctx = next),
    close() {
      server.forceShutdown();
      rmSync(path, { force: true });
    },
  };
}

async function callSlot(ctx: Pick<PluginContext, "slot"> | undefined, { slot, method, args = [] }: Record<string, unknown>): Promise<unknown> {
  if (!ctx) throw new Error("slots answer from Start on");
  const handle = ctx.slot(String(slot)) as Record<string, unknown> | undefined;
  if (!handle) throw new Error(`the slot "${slot}" is not among the plugin's needs and wants, or has no provider now`);
  const found = handle[String(method)];
  if (typeof found !== "function") throw new Error(`the slot "${slot}" has no method "${method}"`);
  return (found as (...args: unknown[]) => unknown).apply(handle, args as unknown[]);
}
