/** Runs the actions of probes and lifecycle hooks against a container. */
import { messageOf } from "@k3s-p/plugin-api";
import type { ContainerSpec, Pod, Probe } from "@k3s-p/plugin-api/kube";
import type { Runtime } from "@k3s-p/plugin-api/slots";
import { sleep, type Clock } from "./clock.ts";
import { grpcHealth, httpGet, tcpConnect, type HttpReply, type HttpRequest } from "./net-probe.ts";

export type Verdict = { readonly result: "success" | "failure" | "unknown"; readonly output: string };

export interface Target {
  readonly pod: Pod;
  readonly spec: ContainerSpec;
  readonly containerId: string;
  /** Address of the pod (the node's, on the host network). */
  readonly ip: string;
}

const PROBE_HEADERS = { "User-Agent": "kube-probe/1.36", Accept: "*/*" };
const MAX_OUTPUT = 10 * 1024;
const MAX_REDIRECTS = 10;

export async function runProbe(runtime: Runtime, target: Target, probe: Probe): Promise<Verdict> {
  const timeout = (probe.timeoutSeconds ?? 1) * 1000;
  if (probe.exec) return execProbe(runtime, target, probe.exec.command ?? [], timeout / 1000);
  try {
    if (probe.httpGet) return await httpProbe(target, probe.httpGet, timeout);
    if (probe.tcpSocket) await tcpConnect(probe.tcpSocket.host || target.ip, resolvePort(target.spec, probe.tcpSocket.port), timeout);
    if (probe.grpc) await grpcHealth(target.ip, probe.grpc.port, probe.grpc.service ?? "", timeout);
    return { result: "success", output: "" };
  } catch (error) {
    return { result: "failure", output: messageOf(error) };
  }
}

async function execProbe(
  runtime: Runtime, target: Target, command: readonly string[], seconds: number,
): Promise<Verdict> {
  try {
    const { stdout, stderr, exitCode } = await runtime.execSync(target.containerId, command, seconds);
    const output = Buffer.concat([stdout, stderr]).subarray(0, MAX_OUTPUT).toString("utf8");
    return { result: exitCode === 0 ? "success" : "failure", output };
  } catch (error) {
    const message = messageOf(error);
    const timedOut = /timeout|deadline|DEADLINE_EXCEEDED/i.test(message);
    if (timedOut) return { result: "failure", output: `command timed out: "${command.join(" ")}" timed out after ${seconds}s` };
    return { result: "unknown", output: message };
  }
}

type HttpAction = NonNullable<Probe["httpGet"]>;

async function httpProbe(target: Target, action: HttpAction, timeout: number): Promise<Verdict> {
  let request = httpRequest(target, action, timeout, PROBE_HEADERS);
  let reply = await httpGet(request);
  for (let hops = 0; isRedirect(reply) && hops < MAX_REDIRECTS; hops++) {
    const url = new URL(reply.location!, `${request.scheme}://${hostPort(request)}${request.path}`);
    // A redirect to another host proves that this one answers.
    if (url.hostname.replace(/^\[|\]$/g, "") !== request.host) break;
    request = {
      ...request, scheme: url.protocol === "https:" ? "https" : "http", path: url.pathname + url.search,
      port: Number(url.port || (url.protocol === "https:" ? 443 : 80)),
    };
    reply = await httpGet(request);
  }
  if (reply.status >= 200 && reply.status < 400) return { result: "success", output: reply.body };
  return { result: "failure", output: `HTTP probe failed with statuscode: ${reply.status}` };
}

const isRedirect = (reply: HttpReply): boolean => reply.status >= 300 && reply.status < 400 && reply.location !== undefined;
const hostPort = (r: HttpRequest): string => `${r.host.includes(":") ? `[${r.host}]` : r.host}:${r.port}`;

function httpRequest(target: Target, action: HttpAction, timeout: number, defaults: Readonly<Record<string, string>>): HttpRequest {
  const headers: Record<string, string> = { ...defaults };
  for (const { name, value } of action.httpHeaders ?? []) {
    const known = Object.keys(headers).find((key) => key.toLowerCase() === name.toLowerCase());
    if (known && known !== name) delete headers[known];
    if (value !== "" || name.toLowerCase() !== "accept") headers[name.toLowerCase() === "host" ? "Host" : name] = value;
  }
  const path = action.path || "/";
  return {
    scheme: action.scheme === "HTTPS" ? "https" : "http",
    host: action.host || target.ip,
    port: resolvePort(target.spec, action.port),
    path: path.startsWith("/") ? path : `/${path}`,
    headers, timeout,
  };
}

/** A number, or the name of one of the container's ports. */
function resolvePort(spec: ContainerSpec, port: unknown): number {
  const text = String(port);
  const number = /^\d+$/.test(text) ? Number(text) : spec.ports?.find((p) => p.name === text)?.containerPort;
  if (number === undefined || number < 1 || number > 65_535) throw new Error(`couldn't find port: "${text}"`);
  return number;
}

type Handler = NonNullable<NonNullable<ContainerSpec["lifecycle"]>["preStop"]>;

const HOOK_TIMEOUT = 60_000;

/** Runs a lifecycle hook to its end; rejects when it fails. */
export async function runHook(
  runtime: Runtime, clock: Clock, target: Target, handler: Handler, signal: AbortSignal,
): Promise<void> {
  if (handler.sleep) return sleep(clock, handler.sleep.seconds * 1000, signal);
  if (handler.exec) {
    const command = handler.exec.command ?? [];
    const { stdout, stderr, exitCode } = await runtime.execSync(target.containerId, command, 0);
    const output = Buffer.concat([stdout, stderr]).toString("utf8");
    if (exitCode !== 0) throw new Error(`command '${command.join(" ")}' exited with ${exitCode}: ${output}`);
    return;
  }
  if (handler.httpGet) {
    const headers = { "User-Agent": "kube-lifecycle/1.36", Accept: "*/*" };
    const { status } = await httpGet(httpRequest(target, handler.httpGet, HOOK_TIMEOUT, headers));
    if (status < 200 || status >= 400) throw new Error(`HTTP lifecycle hook (${handler.httpGet.path ?? "/"}) failed: HTTP status ${status}`);
    return;
  }
  throw new Error("invalid handler: none of exec, httpGet and sleep is set");
}
