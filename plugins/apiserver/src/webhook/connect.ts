/** Admission of CONNECT: exec, attach, portforward and proxies, whose object is what the query asks for. */
import type { AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { Obj } from "../resources/types.ts";
import type { ApiRequest } from "../server/request.ts";
import type { AdmissionChain } from "../verbs/engine.ts";

/** Throws the refusal of a connection. */
export type AdmitConnect = (req: Pick<ApiRequest, "info" | "user" | "query">) => Promise<void>;

export function connectAdmission(admission: AdmissionChain): AdmitConnect {
  return async (req) => {
    const { group, version, resource, subresource, namespace, name } = req.info;
    const request: AdmissionRequest = {
      operation: "CONNECT", user: req.user, group, version, resource, subresource, namespace, name,
      object: optionsOf(req), oldObject: undefined, dryRun: false,
    };
    const object = await admission.mutate(request);
    await admission.validate({ ...request, object });
  };
}

/** The request for a token, as admission leaves it. */
export type AdmitToken = (req: Pick<ApiRequest, "info" | "user">, body: Obj) => Promise<Obj>;

export function tokenAdmission(admission: AdmissionChain): AdmitToken {
  return async (req, body) => {
    const { group, version, resource, subresource, namespace, name } = req.info;
    const request: AdmissionRequest = { operation: "CREATE", user: req.user, group, version, resource, subresource, namespace, name, object: body, oldObject: undefined, dryRun: false };
    const object = await admission.mutate(request);
    await admission.validate({ ...request, object });
    return object;
  };
}

const proxied: Readonly<Record<string, string>> = { pods: "PodProxyOptions", services: "ServiceProxyOptions", nodes: "NodeProxyOptions" };

function optionsOf({ info, query }: Pick<ApiRequest, "info" | "query">): Obj {
  const { resource, subresource, rest } = info;
  if (subresource === "proxy") return { kind: proxied[resource]!, apiVersion: "v1", path: `/${rest.join("/")}` };
  if (subresource === "portforward") return { kind: "PodPortForwardOptions", apiVersion: "v1", ports: query.getAll("ports").map(Number) };
  const isTrue = (name: string): boolean => ["1", "true"].includes(query.get(name) ?? "");
  const flags = ["stdin", "stdout", "stderr", "tty"].filter(isTrue).map((name) => [name, true]);
  const container = query.get("container");
  return {
    kind: subresource === "exec" ? "PodExecOptions" : "PodAttachOptions", apiVersion: "v1", ...Object.fromEntries(flags),
    ...(container && { container }), ...(subresource === "exec" && { command: query.getAll("command") }),
  };
}
