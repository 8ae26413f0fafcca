/** `/containerLogs/<namespace>/<pod>/<container>` and the host's own logs under `/logs/`. */
import { createReadStream } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { ContainerStatus } from "@k3s-p/plugin-api/slots";
import type { Pod } from "@k3s-p/plugin-api/kube";
import { containerLogName, podLogDir } from "../paths.ts";
import type { PodManager } from "../pod-manager.ts";
import { allContainers, containerNameOf, restartCountOf, uidOf } from "../pod.ts";
import type { PodServices } from "../pod-services.ts";
import { streamLog, type LogOptions } from "./logs.ts";
import { drained, HttpError, send, type Request } from "./http.ts";

export async function containerLogs(services: PodServices, manager: PodManager, request: Request): Promise<void> {
  const { parts: [namespace = "", podName = "", name = ""], query, req, res } = request;
  const worker = manager.byName(namespace, podName);
  if (!worker) throw new HttpError(404, `pod "${podName}" not found`);
  const { pod } = worker;
  if (!allContainers(pod).some((ref) => ref.spec.name === name)) {
    throw new HttpError(404, `container "${name}" not found in pod "${podName}"`);
  }
  const { view, node } = services;
  const options = logOptions(query, services.clock.now());
  const container = chooseInstance(services, pod, name, query.get("previous") === "true");
  const path = join(podLogDir(node.paths, pod), containerLogName(name, restartCountOf(container)));
  const gone = new AbortController();
  res.on("close", () => gone.abort());
  req.on("error", () => gone.abort());
  res.writeHead(200, { "Content-Type": "text/plain", "Cache-Control": "no-cache" });
  res.flushHeaders();
  const source = {
    path, running: () => view.container(container.id)?.state === "RUNNING",
    onChange: (fn: () => void) => view.onPod(uidOf(pod), fn),
  };
  await streamLog(source, options, async (text) => {
    if (!res.write(text)) await drained(res, gone.signal);
  }, gone.signal).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
  res.end();
}

/** The newest instance that has run, or with `previous` the one before it that ended. */
function chooseInstance(services: PodServices, pod: Pod, name: string, previous: boolean): ContainerStatus {
  const instances = services.view.pod(uidOf(pod)).containers.filter((c) => containerNameOf(c) === name && c.state !== "CREATED");
  if (previous) {
    const ended = instances.filter((c, i) => c.state === "EXITED" && (i > 0 || isWaiting(pod, name)))[0];
    if (ended) return ended;
    throw new HttpError(400, `previous terminated container "${name}" in pod "${pod.metadata.name}" not found`);
  }
  if (instances[0]) return instances[0];
  const statuses = [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])];
  const reason = statuses.find((s) => s.name === name)?.state?.waiting?.reason ?? "ContainerCreating";
  throw new HttpError(400, `container "${name}" in pod "${pod.metadata.name}" is waiting to start: ${reason}`);
}

/** A container between two starts: its newest instance is the previous one. */
const isWaiting = (pod: Pod, name: string): boolean =>
  [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])]
    .some((s) => s.name === name && s.state?.waiting !== undefined);

function logOptions(query: URLSearchParams, now: number): LogOptions {
  const number = (name: string): number | undefined => {
    const text = query.get(name);
    if (text === null || text === "") return undefined;
    if (!/^-?\d+$/.test(text)) throw new HttpError(400, `{"message": "Unable to decode query."}`);
    return Number(text);
  };
  const tailLines = number("tailLines");
  const limitBytes = number("limitBytes");
  const sinceSeconds = number("sinceSeconds");
  const sinceTime = query.get("sinceTime");
  const since = sinceTime ? Date.parse(sinceTime) : sinceSeconds === undefined ? undefined : now - sinceSeconds * 1000;
  const stream = query.get("stream");
  const on = (name: string): boolean => query.get(name) === "true";
  return {
    follow: on("follow"), timestamps: on("timestamps"),
    ...(tailLines !== undefined && { tailLines }), ...(limitBytes !== undefined && { limitBytes }),
    ...(since !== undefined && { since }),
    ...((stream === "Stdout" || stream === "Stderr") && { stream: stream.toLowerCase() as "stdout" | "stderr" }),
  };
}

/** Files and folder listings below `root`. */
export async function hostLogs(root: string, { parts, res }: Request): Promise<void> {
  const base = await realpath(root);
  const path = await realpath(join(base, ...parts)).catch(() => undefined);
  if (!path || (path !== base && !path.startsWith(`${base}/`))) throw new HttpError(404, "404 page not found\n");
  const info = await stat(path);
  if (info.isDirectory()) {
    const names = (await readdir(path, { withFileTypes: true })).map((e) => (e.isDirectory() ? `${e.name}/` : e.name)).sort();
    const items = names.map((name) => `<a href="${encodeURI(name)}">${name.replace(/[<>&]/g, "")}</a>`);
    return send(res, `<pre>\n${items.join("\n")}\n</pre>\n`, "text/html; charset=utf-8");
  }
  res.writeHead(200, { "Content-Type": "text/plain; charset=utf-8" });
  // Either end's failure closes the other; there is nobody left to tell.
  await pipeline(createReadStream(path), res).catch(() => undefined);
}
