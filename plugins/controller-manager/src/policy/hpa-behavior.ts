/** How fast an autoscaler may move: stabilization windows and scaling policies. Pure. */
import type { HorizontalPodAutoscaler } from "@k3s-p/plugin-api/kube";

type Spec = NonNullable<HorizontalPodAutoscaler["spec"]>;
type Rules = NonNullable<NonNullable<Spec["behavior"]>["scaleUp"]>;

const defaults: { readonly scaleUp: Rules; readonly scaleDown: Rules } = {
  scaleUp: {
    stabilizationWindowSeconds: 0,
    selectPolicy: "Max",
    policies: [
      { type: "Pods", value: 4, periodSeconds: 15 },
      { type: "Percent", value: 100, periodSeconds: 15 },
    ],
  },
  scaleDown: {
    stabilizationWindowSeconds: 300,
    selectPolicy: "Max",
    policies: [{ type: "Percent", value: 100, periodSeconds: 15 }],
  },
};

export interface Recommendation {
  readonly at: number;
  readonly count: number;
}

/** A change that was made: positive up, negative down. */
export interface ScaleChange {
  readonly at: number;
  readonly change: number;
}

export interface History {
  readonly recommendations: readonly Recommendation[];
  readonly changes: readonly ScaleChange[];
}

export interface Limited {
  readonly count: number;
  /** `ScaleDownStabilized` and the like, when a window held the count. */
  readonly stabilized: "up" | "down" | undefined;
  /** Reason and message of the ScalingLimited condition, when a limit held the count. */
  readonly limit: { readonly reason: string; readonly message: string } | undefined;
}

const rulesOf = (spec: Spec, direction: "scaleUp" | "scaleDown"): Rules => ({
  ...defaults[direction],
  ...spec.behavior?.[direction],
});
const windowOf = (spec: Spec, direction: "scaleUp" | "scaleDown"): number =>
  (rulesOf(spec, direction).stabilizationWindowSeconds ?? 0) * 1000;

/** Drops what no window or policy looks at any more. */
export function prune(spec: Spec, history: History, now: number): History {
  const longest = Math.max(windowOf(spec, "scaleUp"), windowOf(spec, "scaleDown"));
  const periods = [...(rulesOf(spec, "scaleUp").policies ?? []), ...(rulesOf(spec, "scaleDown").policies ?? [])].map(
    (p) => p.periodSeconds * 1000,
  );
  return {
    recommendations: history.recommendations.filter(({ at }) => at >= now - longest),
    changes: history.changes.filter(({ at }) => at > now - Math.max(0, ...periods)),
  };
}

/** Messages of the ScalingLimited condition, by reason. */
const limits = {
  ScaleUpLimit: "the desired replica count is increasing faster than the maximum scale rate",
  TooManyReplicas: "the desired replica count is more than the maximum replica count",
  ScaleDownLimit: "the desired replica count is decreasing faster than the maximum scale rate",
  TooFewReplicas: "the desired replica count is less than the minimum replica count",
} as const;

export function limit(spec: Spec, current: number, wanted: number, history: History, now: number): Limited {
  const { minReplicas: min = 1, maxReplicas: max } = spec;
  const stable = stabilize(spec, current, wanted, history, now);
  const stabilized = stable === wanted ? undefined : stable > wanted ? "down" : "up";
  const held = (count: number, reason: keyof typeof limits): Limited => ({ count, stabilized, limit: { reason, message: limits[reason] } });
  if (stable > current) {
    const allowed = Math.max(current, allowedUp(rulesOf(spec, "scaleUp"), current, history, now));
    if (stable > Math.min(allowed, max)) return allowed < max ? held(allowed, "ScaleUpLimit") : held(max, "TooManyReplicas");
  } else if (stable < current) {
    const allowed = Math.min(current, allowedDown(rulesOf(spec, "scaleDown"), current, history, now));
    if (stable < Math.max(allowed, min)) return allowed > min ? held(allowed, "ScaleDownLimit") : held(min, "TooFewReplicas");
  }
  return { count: stable, stabilized, limit: undefined };
}

/** Up: the lowest recommendation of the window; down: the highest; never past the current count. */
function stabilize(spec: Spec, current: number, wanted: number, { recommendations }: History, now: number): number {
  const within = (ms: number) => recommendations.filter(({ at }) => at > now - ms).map(({ count }) => count);
  const up = Math.min(wanted, ...within(windowOf(spec, "scaleUp")));
  const down = Math.max(wanted, ...within(windowOf(spec, "scaleDown")));
  if (current < up) return up;
  return current > down ? down : current;
}

function pick(rules: Rules, current: number, limits: readonly number[], largest: boolean): number {
  if (rules.selectPolicy === "Disabled" || limits.length === 0) return current;
  return largest === (rules.selectPolicy !== "Min") ? Math.max(...limits) : Math.min(...limits);
}

function allowedUp(rules: Rules, current: number, { changes }: History, now: number): number {
  const limits = (rules.policies ?? []).map(({ type, value, periodSeconds }) => {
    const recent = changes.filter(({ at }) => at > now - periodSeconds * 1000).reduce((sum, { change }) => sum + change, 0);
    const before = current - recent;
    return type === "Pods" ? before + value : Math.ceil(before * (1 + value / 100));
  });
  return pick(rules, current, limits, true);
}

function allowedDown(rules: Rules, current: number, { changes }: History, now: number): number {
  const limits = (rules.policies ?? []).map(({ type, value, periodSeconds }) => {
    const recent = changes.filter(({ at }) => at > now - periodSeconds * 1000).reduce((sum, { change }) => sum + change, 0);
    const before = current - recent;
    return type === "Pods" ? before - value : Math.floor(before * (1 - value / 100));
  });
  return pick(rules, current, limits, false);
}
