/** Defaults of containers and probes. */
import { canonicalResources, ensure, fill, fillEmpty, isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";

export function defaultContainer(container: Obj): void {
  fillEmpty(container, {
    imagePullPolicy: pullPolicyOf(container.image),
    terminationMessagePath: "/dev/termination-log",
    terminationMessagePolicy: "File",
  });
  const resources = ensure(container, "resources");
  canonicalResources(resources.limits);
  canonicalResources(resources.requests);
  for (const port of items(container, "ports")) fillEmpty(port, { protocol: "TCP" });
  for (const variable of items(container, "env")) defaultEnv(variable);
  for (const name of ["livenessProbe", "readinessProbe", "startupProbe"]) {
    if (isObject(container[name])) defaultProbe(container[name]);
  }
  for (const name of ["postStart", "preStop"]) {
    const handler = container.lifecycle?.[name];
    if (isObject(handler?.httpGet)) defaultHttpGet(handler.httpGet);
  }
}

/** `Always` for the tag latest, said or implied; `IfNotPresent` for other tags and digests. */
export function pullPolicyOf(image: unknown): string {
  const text = typeof image === "string" ? image : "";
  if (text.includes("@")) return "IfNotPresent";
  const tag = /:([^/:]+)$/.exec(text)?.[1];
  return tag === undefined || tag === "latest" ? "Always" : "IfNotPresent";
}

function defaultEnv(variable: Obj): void {
  const source = variable.valueFrom;
  if (isObject(source?.fieldRef)) fillEmpty(source.fieldRef, { apiVersion: "v1" });
  if (isObject(source?.resourceFieldRef)) fillEmpty(source.resourceFieldRef, { divisor: "0" });
  if (isObject(source?.fileKeyRef)) fill(source.fileKeyRef, { optional: false });
}

function defaultProbe(probe: Obj): void {
  for (const [field, value] of Object.entries({ timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 })) {
    if (!probe[field]) probe[field] = value;
  }
  if (isObject(probe.httpGet)) defaultHttpGet(probe.httpGet);
  if (isObject(probe.grpc)) fill(probe.grpc, { service: "" });
}

function defaultHttpGet(action: Obj): void {
  fillEmpty(action, { path: "/", scheme: "HTTP" });
}
