/** `/v1-k3s/encrypt/status` and `/v1-k3s/encrypt/config` of K3s's supervisor, for administrators. */
import { apiError, badRequest } from "@k3s-p/plugin-api/kube";
import type { Route } from "../server/handler.ts";
import { sendObject } from "../server/respond.ts";
import type { Encryption, EncryptionRequest } from "./manager.ts";

export interface EncryptionControl {
  readonly open: () => Promise<Encryption>;
  readonly reseal: () => Promise<unknown>;
}

export function encryptionRoutes({ open, reseal }: EncryptionControl): (path: string, method: string) => Route | undefined {
  const status: Route = async (req, res) => sendObject(req, res, 200, await (await open()).state());
  const change: Route = async (req, res) => {
    const request = checked(await req.object());
    return sendObject(req, res, 200, await (await open()).change(request, reseal));
  };
  const routes: Readonly<Record<string, { readonly method: string; readonly route: Route }>> = {
    "/v1-k3s/encrypt/status": { method: "GET", route: status },
    "/v1-k3s/encrypt/config": { method: "PUT", route: change },
  };
  return (path, method) => {
    const found = Object.hasOwn(routes, path) ? routes[path]! : undefined;
    if (!found || found.method === method) return found?.route;
    return () => {
      throw apiError(405, "MethodNotAllowed", `${path} answers ${found.method} alone`);
    };
  };
}

function checked(body: Readonly<Record<string, unknown>>): EncryptionRequest {
  const { stage, enable, force, skip } = body;
  if (stage !== undefined && typeof stage !== "string") throw badRequest("stage: a string is expected");
  for (const [name, value] of Object.entries({ enable, force, skip })) {
    if (value !== undefined && typeof value !== "boolean") throw badRequest(`${name}: a boolean is expected`);
  }
  return body;
}
