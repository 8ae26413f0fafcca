/** Defaults of HorizontalPodAutoscalers, v1 and v2. */
import { ensure, fill, isObject } from "../fields.ts";
import type { Obj } from "../types.ts";

const CPU_PERCENT = 80;

export function defaultHpaV1(hpa: Obj): void {
  fill(ensure(hpa, "spec"), { minReplicas: 1 });
  ensure(hpa, "status");
}

export function defaultHpa(hpa: Obj): void {
  const spec = ensure(hpa, "spec");
  fill(spec, { minReplicas: 1 });
  if (!spec.metrics?.length) {
    const target = { type: "Utilization", averageUtilization: CPU_PERCENT };
    spec.metrics = [{ type: "Resource", resource: { name: "cpu", target } }];
  }
  if (isObject(spec.behavior)) defaultBehavior(spec.behavior);
  fill(ensure(hpa, "status"), { desiredReplicas: 0 });
}

function defaultBehavior(behavior: Obj): void {
  fill(ensure(behavior, "scaleUp"), {
    stabilizationWindowSeconds: 0, selectPolicy: "Max",
    policies: [{ type: "Pods", value: 4, periodSeconds: 15 }, { type: "Percent", value: 100, periodSeconds: 15 }],
  });
  fill(ensure(behavior, "scaleDown"), { selectPolicy: "Max", policies: [{ type: "Percent", value: 100, periodSeconds: 15 }] });
}
