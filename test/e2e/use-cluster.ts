/** One cluster for the tests of a describe block: with an image to run, and with the objects that they look at. */
import { afterAll, beforeAll } from "vitest";
import { createCluster, type Cluster, type NodeOptions } from "../kit/cluster.ts";
import { busyboxImage } from "../kit/images.ts";

/** The image that the cluster has. */
export const image = "docker.io/library/busybox:e2e";

export interface UseClusterOptions extends Pick<NodeOptions, "args"> {
  /** Applied when the server is ready. */
  readonly manifest?: string;
  /** What kubectl waits for after that, such as `["wait", "--for=condition=Ready", "pod/p"]`. */
  readonly until?: readonly string[];
}

/** Starts before the tests and goes after them; its members are there once the tests run. */
export function useCluster({ manifest, until, args = [] }: UseClusterOptions = {}): Cluster {
  let live: Cluster | undefined;
  beforeAll(async () => {
    live = await createCluster({ args, images: [busyboxImage({ name: "docker.io/library/busybox", tag: "e2e" })] });
    await live.start();
    if (manifest) await live.apply(manifest);
    if (until) await live.kubectl(...until, "--timeout=60s");
  });
  afterAll(() => live?.dispose());
  return new Proxy({} as Cluster, { get: (_, key) => live![key as keyof Cluster] });
}
