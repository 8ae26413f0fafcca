/** The clusterrole-aggregation controller: fills ClusterRoles from those that their aggregation rule selects. */
import { clusterRoles, matchesSelector, type ClusterRole, type Informer } from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";
import { canonicalJson, semanticEqual } from "../lib/values.ts";

export function start(deps: ControllerDeps): void {
  const c = createController(deps, "clusterrole-aggregation");
  const informer: Informer<ClusterRole> = c.follow(clusterRoles, (role, { previous }): string[] | undefined => {
    if (
      previous &&
      semanticEqual(previous.rules, role.rules) &&
      semanticEqual(previous.metadata.labels, role.metadata.labels) &&
      semanticEqual(previous.aggregationRule, role.aggregationRule)
    )
      return undefined;
    return informer
      .list()
      .filter((other) => other.aggregationRule)
      .map((other) => other.metadata.name!);
  });
  c.run(async (name) => {
    const role = informer.get(name);
    if (!role?.aggregationRule) return;
    const rules = aggregated(role, informer.list());
    if (semanticEqual(rules, role.rules)) return;
    await deps.client.update(clusterRoles, { ...role, rules });
  });
}

/** Rules of the selected roles in the order of their names, each once. */
function aggregated(role: ClusterRole, all: readonly ClusterRole[]): NonNullable<ClusterRole["rules"]> {
  const selectors = role.aggregationRule!.clusterRoleSelectors ?? [];
  const rules = new Map<string, NonNullable<ClusterRole["rules"]>[number]>();
  const sources = all.filter(
    (other) =>
      other.metadata.name !== role.metadata.name &&
      selectors.some((selector) => matchesSelector(selector, other.metadata.labels)),
  );
  for (const source of sources.sort((a, b) => (a.metadata.name! < b.metadata.name! ? -1 : 1))) {
    for (const rule of source.rules ?? []) rules.set(canonicalJson(rule), rule);
  }
  return [...rules.values()];
}
