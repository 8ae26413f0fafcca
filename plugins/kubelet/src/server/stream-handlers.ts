/** Which runtime URL an exec, attach or port-forward request leads to, and `/run`, which needs no stream. */
import type { PodManager } from "../pod-manager.ts";
import { newest, uidOf } from "../pod.ts";
import type { PodServices } from "../pod-services.ts";
import type { ContainerStatus } from "@k3s-p/plugin-api/slots";
import { HttpError, send, type Request } from "./http.ts";

/** `kind/namespace/pod[/uid]/container`; port-forward has no container. */
export async function streamTarget(
  services: PodServices, manager: PodManager, parts: readonly string[], query: URLSearchParams,
): Promise<string> {
  const [kind, namespace = "", pod = "", ...rest] = parts;
  const { runtime, view } = services;
  if (kind === "portForward") {
    const worker = findPod(manager, namespace, pod);
    const sandbox = view.pod(uidOf(worker.pod)).sandboxes.find((s) => s.state === "READY");
    if (!sandbox) throw new HttpError(404, `pod does not have a running sandbox`);
    const ports = query.getAll("port").flatMap((text) => text.split(",")).map(Number).filter((port) => port > 0);
    return runtime.portForwardUrl(sandbox.id, ports);
  }
  const container = findContainer(services, manager, namespace, pod, rest.at(-1) ?? "");
  const options = streamOptions(query);
  if (kind === "exec") return runtime.execUrl(container.id, query.getAll("command"), options);
  if (kind === "attach") return runtime.attachUrl(container.id, options);
  throw new HttpError(404, "404 page not found\n");
}

/** The API server sends `input=1`, clients of the API `stdin=true`. */
function streamOptions(query: URLSearchParams): { stdin: boolean; stdout: boolean; stderr: boolean; tty: boolean } {
  const on = (...names: string[]): boolean => names.some((name) => /^(1|true)$/.test(query.get(name) ?? ""));
  const tty = on("tty");
  const options = { stdin: on("input", "stdin"), stdout: on("output", "stdout"), stderr: on("error", "stderr") && !tty, tty };
  if (!options.stdin && !options.stdout && !options.stderr) throw new HttpError(400, "you must specify at least 1 of stdin, stdout, stderr");
  return options;
}

function findPod(manager: PodManager, namespace: string, name: string): NonNullable<ReturnType<PodManager["byName"]>> {
  const worker = manager.byName(namespace, name);
  if (!worker) throw new HttpError(404, `pod "${name}" does not exist`);
  return worker;
}

function findContainer(
  services: PodServices, manager: PodManager, namespace: string, pod: string, name: string,
): ContainerStatus {
  const worker = findPod(manager, namespace, pod);
  const container = newest(services.view.pod(uidOf(worker.pod)).containers, name);
  if (container?.state !== "RUNNING") throw new HttpError(404, `container not found ("${name}")`);
  return container;
}

const RUN_TIMEOUT_SECONDS = 60;

export async function runCommand(services: PodServices, manager: PodManager, { res, parts, query }: Request): Promise<void> {
  const [namespace = "", pod = "", ...rest] = parts;
  const container = findContainer(services, manager, namespace, pod, rest.at(-1) ?? "");
  const command = (query.get("cmd") ?? "").split(" ").filter(Boolean);
  const { stdout, stderr } = await services.runtime.execSync(container.id, command, RUN_TIMEOUT_SECONDS);
  send(res, Buffer.concat([stdout, stderr]));
}
