/** What a pod worker uses; assembled once in kubelet.ts and replaced by fakes in tests. */
import type { Pod, PodStatus, Service } from "@k3s-p/plugin-api/kube";
import type { Backoff } from "./backoff.ts";
import type { Cgroups } from "./cgroups.ts";
import type { KubeletContext } from "./context.ts";
import type { DnsConfig } from "./dns.ts";
import type { Images } from "./images.ts";
import type { ReferencedObjects } from "./objects.ts";
import type { Probes } from "./probes/probes.ts";
import type { ResizeRefusal } from "./resize.ts";
import type { RuntimeView } from "./runtime-view.ts";
import type { Mounter } from "./volumes/mounts.ts";
import type { Volumes } from "./volumes/volumes.ts";

/** A pod that ends as Failed for a reason that does not lie in its containers. */
export interface Verdict {
  readonly phase: "Failed";
  readonly reason: string;
  readonly message: string;
  /** The node was short of something: the pod did nothing wrong. */
  readonly isDisruption?: boolean;
  /** Seconds that the containers have to end, when that is not the pod's own grace period. */
  readonly grace?: number;
}

export interface PodServices extends KubeletContext {
  readonly view: RuntimeView;
  readonly probes: Probes;
  readonly images: Images;
  readonly volumes: Volumes;
  readonly objects: ReferencedObjects;
  readonly cgroups: Cgroups;
  readonly mounts: Mounter;
  readonly restartBackoff: Backoff;
  /** The node's resolver. */
  readonly hostDns: DnsConfig;
  readonly memoryCapacity: number;
  allocatable(): Readonly<Record<string, string>>;
  servicesFor(namespace: string): readonly Service[];
  /** Handler of a RuntimeClass; rejects when there is none of that name. */
  runtimeHandler(className: string): Promise<string>;
  /** Undefined when pods can have a network; else why not. */
  networkProblem(): string | undefined;
  /** Whether the node takes the pod; asked once, before anything is made. */
  admit(pod: Pod): Verdict | undefined;
  /** Why the pod cannot have its new size now; undefined when it can. */
  refuseResize(pod: Pod): ResizeRefusal | undefined;
  /** A pod takes less of the node than before: those that wait for room ask again. */
  roomMade(): void;
  /** Writes the pod's status to the API (for a static pod to its mirror). */
  publish(pod: Pod, status: PodStatus): void;
  /** Resolves when what was published has been written; rejects when that will be later. */
  published(pod: Pod): Promise<void>;
  /** The pod is gone for good: drop what is remembered of it. */
  forget(uid: string): void;
  /** Deletes the API object for good, when nothing of the pod is left. */
  deleteFromApi(pod: Pod): Promise<void>;
}
