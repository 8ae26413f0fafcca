/** The ttl controller: tells kubelets, by the size of the cluster, how long they may keep Secrets and ConfigMaps. */
import { nodes, type Informer, type Node } from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";

const TTL = "node.alpha.kubernetes.io/ttl";

/** Sizes at which a step is entered and left, and its seconds; the steps overlap so that a size at the edge does not flap. */
const steps: readonly { readonly min: number; readonly max: number; readonly seconds: number }[] = [
  { min: 0, max: 100, seconds: 0 },
  { min: 90, max: 500, seconds: 15 },
  { min: 450, max: 1000, seconds: 30 },
  { min: 900, max: 2000, seconds: 60 },
  { min: 1800, max: Infinity, seconds: 300 },
];

export function start(deps: ControllerDeps): void {
  const c = createController(deps, "ttl");
  let step = 0;
  let count = 0;
  const informer: Informer<Node> = c.follow(nodes, (node, { previous, deleted }): string | string[] | undefined => {
    if (!previous) count += deleted ? -1 : 1;
    const before = step;
    while (count > steps[step]!.max) step++;
    while (count < steps[step]!.min) step--;
    return step === before ? node.metadata.name : informer.list().map((n) => n.metadata.name!);
  });
  c.run(async (name) => {
    const node = informer.get(name);
    const seconds = String(steps[step]!.seconds);
    if (!node || node.metadata.annotations?.[TTL] === seconds) return;
    await deps.client.patch(nodes, name, { metadata: { annotations: { [TTL]: seconds } } });
  });
}
