/** Keeps a release of helm for each HelmChart: one chart at a time, at once when it changes, with back-off when it fails. */
import type { Logger } from "@k3s-p/plugin-api";
import { type EventRecorder, findCondition, keyOf, type KubeClient, type Secret, secrets, splitKey, workQueue } from "@k3s-p/plugin-api/kube";
import { type ChartCondition, claim, type HelmChart, type HelmChartConfig, helmChartConfigs, helmCharts, isManaged, isSame, unclaim } from "./chart.ts";
import { desiredOf, releaseOf, SpecError, type Desired } from "./desired.ts";
import type { Helm, Outcome } from "./helm.ts";
import { planFor, readRevisions, type Step } from "./release.ts";

export interface ControllerOptions {
  readonly client: KubeClient;
  readonly helm: Helm;
  readonly recorder: EventRecorder;
  readonly log: Logger;
  readonly now?: () => number;
  /** First and longest delay of a retry, milliseconds. */
  readonly backoff?: readonly [number, number];
}

export interface Controller {
  stop(): Promise<void>;
}

/** What helm runs for. */
interface Running {
  readonly key: string;
  readonly hash: string;
  readonly isDeleted: boolean;
}

/** Those of Kubernetes for the pods of a failing job, which is what K3s runs. */
const BACKOFF = [10_000, 360_000] as const;
/** For what the API server refuses now, such as a write to an object that has just changed. */
const REQUEST_BACKOFF = [100, 60_000] as const;
/** Attempts that may fail so before somebody is told. */
const PATIENCE = 5;

export function startController(options: ControllerOptions): Controller {
  const { client, helm, recorder, log, now = Date.now, backoff = BACKOFF } = options;
  const charts = client.informer(helmCharts);
  const configs = client.informer(helmChartConfigs);
  const values = client.informer(secrets);
  /** Failed attempts since the chart, or what it is made of, has changed. */
  const attempts = new Map<string, number>();
  /** What went wrong last, so that the log says it once. */
  const failing = new Map<string, string>();
  let running: Running | undefined;
  let stopping = false;

  const queue = workQueue({
    name: "helm-controller", workers: 1, backoff: REQUEST_BACKOFF, reconcile,
    onError: (chart, error, retries) => log[retries > PATIENCE ? "warn" : "debug"]({ chart, err: error }, "a HelmChart was not looked after; will be tried again"),
  });

  async function reconcile(key: string): Promise<number | void> {
    const [namespace, name] = splitKey(key);
    const chart = charts.get(name, namespace);
    if (!chart || stopping) return;
    if (chart.metadata.deletionTimestamp) return isManaged(chart) ? uninstall(chart) : unclaim(client, chart);
    if (!isManaged(chart)) return;
    await claim(client, chart);
    try {
      return await install(chart, await desiredOf(client, chart, configs.get(name, namespace)));
    } catch (error) {
      if (!(error instanceof SpecError)) throw error;
      return retry(chart, { reason: error.reason, message: error.message, phase: "Refused" }, Infinity);
    }
  }

  async function install(chart: HelmChart, desired: Desired): Promise<number | void> {
    const wanted = { hash: desired.hash, failurePolicy: desired.failurePolicy, patience: desired.timeout };
    const plan = planFor(await readRevisions(client, desired.release), wanted, now());
    if (plan.kind === "aborted") return;
    if (plan.kind === "current") return succeeded(chart, plan.revision);
    if (plan.kind === "busy") {
      await failed(chart, "Failed", "ReleaseBusy", `another helm operation is in progress (${plan.status}); unless it ends, it is taken over at ${new Date(plan.until).toISOString()}`);
      return plan.until - now();
    }
    if ((attempts.get(keyOf(chart)) ?? 0) > desired.backOffLimit) return;
    await setConditions(chart, "Applying", `Applying HelmChart with ${commandsOf(plan.steps)}`);
    recorder.record(chart, "Normal", "ApplyChart", `Applying HelmChart with ${commandsOf(plan.steps)}`);
    const outcome = await perform(chart, plan.steps, desired);
    if (!outcome.ok) return retry(chart, outcome, desired.backOffLimit);
    const revision = (await readRevisions(client, desired.release)).at(-1)?.version ?? 0;
    recorder.record(chart, "Normal", "AppliedChart", deployedText(chart, revision));
    log.info({ chart: keyOf(chart), revision }, `applied HelmChart ${keyOf(chart)}`);
    await succeeded(chart, revision);
  }

  async function uninstall(chart: HelmChart): Promise<number | void> {
    const ref = releaseOf(chart);
    if ((await readRevisions(client, ref)).length) {
      const outcome = await perform(chart, [{ kind: "uninstall" }], { ...bare, release: ref, spec: chart.spec ?? {} });
      if (!outcome.ok) return retry(chart, outcome, Infinity);
      log.info({ chart: keyOf(chart) }, `uninstalled HelmChart ${keyOf(chart)}`);
    }
    recorder.record(chart, "Normal", "RemoveChart", `Uninstalled HelmChart ${keyOf(chart)}`);
    forget(chart);
    const { name, namespace } = chart.metadata;
    await unclaim(client, charts.get(name!, namespace!) ?? chart);
  }

  async function perform(chart: HelmChart, steps: readonly Step[], desired: Desired): Promise<Outcome> {
    running = { key: keyOf(chart), hash: desired.hash, isDeleted: chart.metadata.deletionTimestamp !== undefined };
    const outcome = helm.perform(steps, desired);
    // It may have changed since it was looked at.
    supersede(chart);
    return outcome.finally(() => (running = undefined));
  }

  async function retry(chart: HelmChart, { reason, message, phase = "Failed" }: Failure, limit: number): Promise<number | void> {
    // Either the server stops, or a change that came meanwhile is next.
    if (reason === "Interrupted") return;
    const count = (attempts.get(keyOf(chart)) ?? 0) + 1;
    attempts.set(keyOf(chart), count);
    const over = count > limit;
    await failed(chart, phase, over ? "BackoffLimitExceeded" : reason, over ? `${message}; not tried again until the HelmChart changes` : message);
    return over ? undefined : Math.min(backoff[1], backoff[0] * 2 ** Math.min(count - 1, 30));
  }

  async function failed(chart: HelmChart, phase: Phase, reason: string, message: string): Promise<void> {
    if (failing.get(keyOf(chart)) !== message) log.warn({ chart: keyOf(chart) }, `HelmChart ${keyOf(chart)} failed: ${message}`);
    failing.set(keyOf(chart), message);
    recorder.record(chart, "Warning", reason, message);
    await setConditions(chart, phase, message, reason);
  }

  async function succeeded(chart: HelmChart, revision: number): Promise<void> {
    forget(chart);
    await setConditions(chart, "Deployed", deployedText(chart, revision));
  }

  function forget(chart: HelmChart): void {
    attempts.delete(keyOf(chart));
    failing.delete(keyOf(chart));
  }

  async function setConditions(chart: HelmChart, phase: Phase, message: string, reason?: string): Promise<void> {
    const { name, namespace } = chart.metadata;
    const before = charts.get(name!, namespace!)?.status?.conditions ?? [];
    const conditions = conditionsFor(before, phase, message, reason);
    if (JSON.stringify(conditions) === JSON.stringify(before)) return;
    await client.patch(helmCharts, name!, { status: { conditions } }, { namespace: namespace!, subresource: "status" });
  }

  /** Something has changed, so that earlier failures say nothing any more. */
  function changed(chart: HelmChart): void {
    attempts.delete(keyOf(chart));
    queue.add(keyOf(chart));
    supersede(chart);
  }

  /** A helm that waits, as for a hook, does so for minutes: it is ended when something else is wanted. */
  function supersede({ metadata }: HelmChart): void {
    const was = running;
    const chart = charts.get(metadata.name!, metadata.namespace!);
    if (!chart || was?.key !== keyOf(chart)) return;
    const interrupt = (other: boolean): void => void (other && running === was && helm.interrupt());
    if (chart.metadata.deletionTimestamp) return interrupt(!was.isDeleted);
    const mistake = (error: unknown): void => log.debug({ chart: was.key, err: error }, "helm goes on");
    desiredOf(client, chart, configs.get(metadata.name!, metadata.namespace!)).then(({ hash }) => interrupt(hash !== was.hash), mistake);
  }

  const configChanged = ({ metadata }: HelmChartConfig): void => {
    const chart = charts.get(metadata.name!, metadata.namespace!);
    if (chart) changed(chart);
  };
  const secretChanged = (secret: Secret, before?: Secret): void => {
    const { name = "", namespace } = secret.metadata;
    const users = charts.list(namespace).filter((chart) => uses(chart, configs.get(chart.metadata.name!, namespace), name));
    if (users.length && !(before && hasSameData(secret, before))) users.forEach(changed);
  };
  const ready = Promise.all([charts.synced, configs.synced]).then(() => {
    if (stopping) return;
    charts.on({ added: changed, updated: (chart, before) => void (isSame(chart, before) || changed(chart)), deleted: forget });
    configs.on({ added: configChanged, updated: configChanged, deleted: configChanged });
    values.on({ added: secretChanged, updated: secretChanged, deleted: secretChanged });
  });
  ready.catch((error: unknown) => log.warn({ err: error }, "HelmCharts are not looked after"));

  return {
    async stop() {
      stopping = true;
      for (const informer of [charts, configs, values]) informer.stop();
      await Promise.all([helm.stop(), queue.stop()]);
    },
  };
}

const bare = { values: [], failurePolicy: "retry", backOffLimit: Infinity, timeout: 300_000, hash: "" } as const;

/** `Refused`: helm was not asked, as the HelmChart is wrong. */
type Phase = "Applying" | "Deployed" | "Failed" | "Refused";

interface Failure {
  readonly reason: string;
  readonly message: string;
  readonly phase?: Phase;
}

/**
 * `JobCreated` and `Failed` are K3s's; `Deployed` is for those who wait for K3s's job to complete. Who is failing has
 * failed until it is deployed.
 */
function conditionsFor(before: readonly ChartCondition[], phase: Phase, message: string, reason: string = phase): ChartCondition[] {
  const fine: ChartCondition = { type: "Failed", status: "False" };
  if (phase === "Deployed") return [jobCreated, fine, { type: "Deployed", status: "True", reason, message }];
  if (phase === "Applying") return [jobCreated, findCondition(before, "Failed") ?? fine, { type: "Deployed", status: "False", reason, message }];
  const created: ChartCondition = phase === "Refused" ? { type: "JobCreated", status: "False", reason } : jobCreated;
  return [created, { type: "Failed", status: "True", reason, message }, { type: "Deployed", status: "False", reason }];
}

const jobCreated: ChartCondition = { type: "JobCreated", status: "True", reason: "Helm", message: "helm runs on the server, without a job" };

const deployedText = ({ metadata, spec }: HelmChart, revision: number): string =>
  `release ${spec?.targetNamespace || metadata.namespace}/${metadata.name} is deployed, revision ${revision}`;

const commandsOf = (steps: readonly Step[]): string => steps.map((step) => `helm ${step.kind}`).join(", ");

function uses({ spec = {} }: HelmChart, config: HelmChartConfig | undefined, secret: string): boolean {
  const all = [...(spec.valuesSecrets ?? []), ...(config?.spec?.valuesSecrets ?? [])].filter(({ ignoreUpdates }) => !ignoreUpdates);
  return [spec.authSecret, spec.dockerRegistrySecret, ...all].some((each) => each?.name === secret);
}

const hasSameData = (a: Secret, b: Secret): boolean => JSON.stringify(a.data) === JSON.stringify(b.data);
