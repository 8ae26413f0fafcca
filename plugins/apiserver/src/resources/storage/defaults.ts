/** Defaults of storage.k8s.io. */
import { ensure, fill } from "../fields.ts";
import type { Obj } from "../types.ts";

export function defaultStorageClass(storageClass: Obj): void {
  fill(storageClass, { reclaimPolicy: "Delete", volumeBindingMode: "Immediate" });
}

export function defaultCsiDriver(driver: Obj): void {
  const spec = ensure(driver, "spec");
  fill(spec, {
    attachRequired: true, podInfoOnMount: false, storageCapacity: false, fsGroupPolicy: "ReadWriteOnceWithFSType",
    requiresRepublish: false, seLinuxMount: false,
  });
  if (!spec.volumeLifecycleModes?.length) spec.volumeLifecycleModes = ["Persistent"];
}
