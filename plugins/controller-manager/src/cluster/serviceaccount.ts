/** The serviceaccount controller: every namespace has the ServiceAccount `default`. */
import { isAlreadyExists, namespaces, serviceAccounts } from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";
import { isTerminatingNamespace } from "../lib/pod-control.ts";

export function start(deps: ControllerDeps): void {
  const c = createController(deps, "serviceaccount");
  const namespaceInformer = c.follow(namespaces);
  const accounts = c.follow(serviceAccounts, (account, { deleted }) =>
    deleted && account.metadata.name === "default" ? account.metadata.namespace : undefined);

  c.run(async (name) => {
    const namespace = namespaceInformer.get(name);
    if (!namespace || namespace.metadata.deletionTimestamp || accounts.get("default", name)) return;
    try {
      await deps.client.create(serviceAccounts, { metadata: { name: "default", namespace: name } });
    } catch (error) {
      if (!isAlreadyExists(error) && !isTerminatingNamespace(error)) throw error;
    }
  });
}
