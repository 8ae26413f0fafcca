/** Polls the health of plugins that are up: three failures in a row make one degraded, one success makes it ready again. */
import type { HealthResult, Logger } from "@k3s-p/plugin-api";
import { isUp, type Instance, type PluginState } from "./instance.ts";
import { limits, type Clock } from "./policy.ts";
import type { Run } from "./run.ts";

export interface HealthPollOptions {
  readonly clock: Clock;
  readonly instances: () => Iterable<Instance>;
  readonly enter: (instance: Instance, state: PluginState) => void;
  readonly log: (plugin: string) => Logger;
}

/** Returns the end of it. A round starts only when the one before has been answered. */
export function pollHealth(options: HealthPollOptions): () => void {
  const { clock } = options;
  let ended = false;
  let cancel = (): void => {};
  const round = async (): Promise<void> => {
    await Promise.all([...options.instances()].map((instance) => check(instance, options)));
    if (!ended) next();
  };
  const next = (): void => void (cancel = clock.after(limits.healthInterval, () => void round()));
  next();
  return () => {
    ended = true;
    cancel();
  };
}

async function check(instance: Instance, { clock, enter, log }: HealthPollOptions): Promise<void> {
  const { run } = instance;
  if (!run?.declared?.parts.has("health") || !isUp(instance)) return;
  const result = await ask(run, clock);
  if (instance.run !== run || !isUp(instance)) return;
  instance.health = [...instance.health, result].slice(-limits.healthHistory);
  const recent = instance.health.slice(-limits.healthFailures);
  if (result.ok && instance.state === "degraded") {
    enter(instance, "ready");
    log(instance.manifest.id).info("healthy again");
  } else if (instance.state === "ready" && recent.length === limits.healthFailures && recent.every((r) => !r.ok)) {
    enter(instance, "degraded");
    log(instance.manifest.id).warn(`degraded: ${result.message ?? "its health check fails"}`);
  }
}

function ask(run: Run, clock: Clock): Promise<HealthResult> {
  return new Promise((resolve) => {
    const late = { ok: false, message: `no answer within ${limits.healthTimeout / 1000} s` };
    const cancel = clock.after(limits.healthTimeout, () => resolve(late));
    const settle = (result: HealthResult): void => {
      cancel();
      resolve(result);
    };
    const failed = (error: unknown): void => settle({ ok: false, message: error instanceof Error ? error.message : String(error) });
    run.host.call("health", run.impl).then(settle, failed);
  });
}
