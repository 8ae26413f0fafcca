/** Defaults of scheduling and dynamic resource allocation. */
import { ensure, fill, isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";

export function defaultPriorityClass(priorityClass: Obj): void {
  fill(priorityClass, { preemptionPolicy: "PreemptLowerPriority", value: 0 });
}

function defaultDeviceRequests(spec: Obj): void {
  for (const request of items(spec.devices, "requests")) {
    const alternatives = [...(isObject(request.exactly) ? [request.exactly] : []), ...items(request, "firstAvailable")];
    for (const wanted of alternatives) {
      fill(wanted, { allocationMode: "ExactCount" });
      if (wanted.allocationMode === "ExactCount" && !wanted.count) wanted.count = 1;
      for (const toleration of items(wanted, "tolerations")) fill(toleration, { operator: "Equal" });
    }
  }
}

export function defaultResourceClaim(claim: Obj): void {
  defaultDeviceRequests(ensure(claim, "spec"));
  ensure(claim, "status");
}

export function defaultResourceClaimTemplate(template: Obj): void {
  defaultDeviceRequests(ensure(ensure(template, "spec"), "spec"));
}
