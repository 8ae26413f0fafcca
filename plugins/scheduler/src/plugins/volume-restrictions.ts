/** VolumeRestrictions: a ReadWriteOncePod claim serves one pod at a time (KEP-2485). */
import type { PersistentVolumeClaim } from "@k3s-p/plugin-api/kube";
import type { Cluster } from "../cluster.ts";
import { reject, type SchedulingPlugin } from "../framework.ts";

const inUse = reject("node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode", true);

type State = { readonly claims: readonly string[]; readonly cluster: Cluster };

export function volumeRestrictions(claim: (key: string) => PersistentVolumeClaim | undefined): SchedulingPlugin<State> {
  return {
    name: "VolumeRestrictions",
    events: ["podDeleted", "claim"],
    preFilter(pod, cluster) {
      const claims = pod.claims.map((c) => c.key).filter((key) => claim(key)?.spec?.accessModes?.includes("ReadWriteOncePod"));
      return claims.length ? { state: { claims, cluster } } : { skip: true };
    },
    filter: (_node, _pod, { claims, cluster }) => (claims.some((key) => cluster.claimUsers(key) > 0) ? inUse : undefined),
  };
}
