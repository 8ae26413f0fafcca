/** Runs a planned server or agent in this process: kernel, references, signals, and the summary a user reads. */
import { join } from "node:path";
import { K3spError, formatError, isK3spError, k3spError, type Logger } from "@k3s-p/plugin-api";
import { ApiError } from "@k3s-p/plugin-api/kube";
import { unreadArguments } from "./config/arguments.ts";
import { unreadFlags } from "./config/flags.ts";
import { apiGrant, debugPage, metricsSource, slotHealth, type ApiGrant } from "@k3s-p/plugin-api/points";
import type { Pki, Runner } from "@k3s-p/plugin-api/slots";
import { keepAccounts } from "./accounts/accounts.ts";
import { lockFile, openApprovals } from "./approval/approvals.ts";
import { debugPlugins } from "./admin/debug.ts";
import { createHookTimes, pluginMetrics } from "./admin/metrics.ts";
import { slotHealthOf } from "./admin/slot-health.ts";
import { createTracing } from "./admin/tracing.ts";
import { grantOf } from "./isolation/permissions.ts";
import { checkAttach } from "./isolation/attach.ts";
import { criticalPath } from "./kernel/graph.ts";
import { createHosts } from "./kernel/hosts/index.ts";
import { createKernel, runningPlugin, type Kernel } from "./kernel/lifecycle.ts";
import type { OnSpan } from "./kernel/span.ts";
import { createLogger } from "./log.ts";
import { isLoopback } from "./node/checks.ts";
import { hasDefaultRoute } from "./node/identity.ts";
import { makeDataFolders } from "./node/data-folders.ts";
import { createPki } from "./pki/pki.ts";
import type { NodePlan } from "./plan.ts";
import { createRunner } from "./runner/runner.ts";
import { version } from "./version.ts";

export interface RunningNode {
  readonly kernel: Kernel;
  stop(): Promise<void>;
}

export interface StartOptions {
  readonly log?: (plugin: string) => Logger;
  readonly onFatal?: (error: K3spError) => void;
  /** Of an agent that has joined; a server keeps its own. */
  readonly pki?: Pki;
  /** Cuts the start off; without effect once the server is ready. */
  readonly signal?: AbortSignal;
}

/** Starts everything and resolves when it is ready; on failure what had started is stopped again. */
export async function startNode(planned: NodePlan, options: StartOptions = {}): Promise<RunningNode> {
  const { node, settings } = planned;
  const log = options.log ?? createLogger({ debug: settings.values.get("debug")?.value === true });
  const kernelLog = log("kernel");
  await makeDataFolders(node.paths, node.role);
  const runner = createRunner();
  const tracing = await createTracing((message) => kernelLog.warn(message));
  const kernel = kernelOf(planned, { ...options, log, runner, tracing });
  const stop = async (): Promise<void> => {
    await kernel.stop().finally(() => runner.stop());
  };
  // An agent said so before it joined.
  if (node.role === "server") kernelLog.info(`k3s-p ${version} starting on node ${node.name} (${node.ip}), data in ${node.paths.dataDir}`);
  const claimed = new Set(planned.plan.plugins.flatMap((m) => Object.keys(m.flags)));
  const { plugins } = planned.plan;
  const warnings = [...settings.warnings, ...unreadFlags(settings.values, claimed, node.role), ...unreadArguments(plugins, planned.configs), ...podWarnings(planned)];
  for (const warning of warnings) kernelLog.warn(warning);
  for (const line of choiceLines(planned)) kernelLog.info(line);
  const cutOff = (): void => void stop();
  options.signal?.addEventListener("abort", cutOff, { once: true });
  try {
    await kernel.start();
    tracing?.started();
  } catch (error) {
    tracing?.started(error as Error);
    await stop();
    throw error;
  } finally {
    options.signal?.removeEventListener("abort", cutOff);
  }
  for (const line of summary(planned, kernel)) kernelLog.info(line);
  void keepAccounts(kernel.slot("kube"), kernel.plan(), node, kernelLog);
  return { kernel, stop };
}

interface KernelParts extends StartOptions {
  readonly log: (plugin: string) => Logger;
  readonly runner: Runner;
  readonly tracing: Awaited<ReturnType<typeof createTracing>>;
}

/** The kernel, with what the core itself contributes to it. */
function kernelOf(planned: NodePlan, { log, runner, tracing, pki, onFatal }: KernelParts): Kernel {
  const { plan, configs, node, settings } = planned;
  const refs = { node, runner, pki: pki ?? createPki(node.paths.tls, { warn: (message) => log("kernel").warn(message) }) };
  // Not below `server`, which root alone may enter: programs have users of their own.
  const dirs = { data: join(node.paths.dataDir, "plugins"), run: join(node.paths.run, "plugins") };
  const attach = (settings.values.get("attach")?.value ?? []) as readonly string[];
  checkAttach(attach, plan.plugins);
  const hookTimes = createHookTimes();
  const onSpan: OnSpan = (span) => {
    hookTimes.record(span);
    tracing?.record(span);
  };
  const kernel: Kernel = createKernel({
    plan, configs, log, refs, dirs, onSpan,
    host: createHosts({ paths: { ...node.paths }, dirs, refs, provider: (slot) => kernel.slot(slot), attach, admit: openApprovals(lockFile(node.paths)).admit }),
    ...(onFatal && { onFatal }),
  });
  kernel.contribute(metricsSource, pluginMetrics(kernel, hookTimes));
  kernel.contribute(debugPage, debugPlugins(kernel));
  kernel.contribute(slotHealth, slotHealthOf(kernel));
  for (const grant of agentGrants(planned)) kernel.contribute(apiGrant, grant);
  return kernel;
}

/** On another node the plugin runs whether it does here or not. */
function agentGrants({ plan, node }: NodePlan): ApiGrant[] {
  const known = new Map([...plan.plugins, ...plan.spare].map((m) => [m.id, m]));
  return node.cluster.agentPlugins.map((id) => grantOf(known.get(id)!)).filter((grant) => grant !== undefined);
}

/** What is not as by default: replaced, disabled. */
function choiceLines({ plan }: NodePlan): string[] {
  const replaced = plan.choices.filter((c) => c.replaces).map((c) => `${c.slot}: ${c.plugin} ${c.version} (replaces ${c.replaces})`);
  const reasons = Map.groupBy(plan.leftOut.filter((l) => !l.why.startsWith("replaced by")), (l) => l.why);
  const off = [...reasons].map(([why, list]) => `${list.map((l) => l.plugin).join(", ")}: not loaded (${why})`);
  return [...replaced, ...off];
}

/** What starts, and will not be of use to pods. */
function podWarnings({ plan, node }: NodePlan): string[] {
  if (!plan.plugins.some((m) => "kubelet" in m.provides)) return [];
  return [
    ...(plan.choices.some((c) => c.slot === "cni") ? [] : ["cni: none; pods stay in ContainerCreating unless a CNI is installed by hand"]),
    ...(isLoopback(node.ip) ? [`node-ip: at ${node.ip} pods do not reach the API server: give this machine an IPv4 address, or name one with --node-ip`] : []),
    ...(hasDefaultRoute() ? [] : ["this machine has no default route: its own programs reach no Service by its address; add one, though it leads nowhere: ip route add default dev INTERFACE"]),
  ];
}

function summary({ plan }: NodePlan, kernel: Kernel): string[] {
  const seconds = (ms: number) => (ms / 1000).toFixed(ms < 995 ? 2 : 1);
  const total = Math.max(0, ...[...kernel.timings.values()].map((t) => t.ready));
  const path = criticalPath(plan.edges, kernel.timings).map((step) => `${step.id} ${seconds(step.ms)}`).join(" -> ");
  const wrong = kernel.status().filter((s) => ["failed", "quarantined", "skipped", "loading", "starting"].includes(s.state));
  const disabled = plan.leftOut.filter((l) => !l.why.startsWith("replaced by")).map((l) => l.plugin);
  const ready = `ready in ${seconds(total)} s, ${seconds(performance.now())} s since exec (critical path: ${path})`;
  return [
    ready,
    ...(disabled.length ? [`disabled: ${disabled.join(", ")}`] : []),
    ...wrong.map((s) => `${s.id}: ${s.state}${s.error ? ` (${s.error})` : ""}`),
  ];
}

/** Any error as the block that a user reads; unknown ones keep their stack. */
export function describeError(error: unknown): string {
  if (isK3spError(error)) return formatError(error);
  if (error instanceof ApiError) return `Error from server (${error.reason}): ${error.message}`;
  if (error instanceof AggregateError) return error.errors.map(describeError).join("\n\n");
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/**
 * Charges errors that no code caught to the plugin that was running. A rejection is reported, and the plugin restarted
 * under its policy where that is possible; an exception may have torn state, so it ends the process.
 */
export function attributeStrayErrors(log: Logger, blame: (plugin: string, error: K3spError) => boolean, die: (error: K3spError) => void): void {
  process.on("unhandledRejection", (reason) => {
    const error = strayError(reason, "a promise was rejected and nobody handled it");
    if (!error.plugin || !blame(error.plugin, error)) log.error({ err: reason }, error.message);
  });
  process.on("uncaughtException", (error) => die(strayError(error, "an exception was not caught")));
}

function strayError(cause: unknown, what: string): K3spError {
  const plugin = runningPlugin();
  const message = `${plugin ?? "kernel"}: ${what}: ${cause instanceof Error ? cause.message : String(cause)}`;
  const frame = cause instanceof Error ? (cause.stack?.split("\n")[1]?.trim() ?? "") : "";
  return k3spError("K3SP_PLUGIN_CRASHED", { message, detail: frame ? [frame] : [], cause, ...(plugin && { plugin }) });
}
