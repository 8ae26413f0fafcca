/** The root-ca-certificate-publisher controller: every namespace has the ConfigMap `kube-root-ca.crt`. */
import { configMaps, isAlreadyExists, namespaces, type ConfigMap } from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";
import { isTerminatingNamespace } from "../lib/pod-control.ts";

const NAME = "kube-root-ca.crt";
const DESCRIPTION = "kubernetes.io/description";
const description = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints " +
  "such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

export function start(deps: ControllerDeps): void {
  const { client } = deps;
  const bundle = deps.pki.ca("server-ca").cert;
  const c = createController(deps, "root-ca-certificate-publisher");
  const namespaceInformer = c.follow(namespaces);
  const maps = c.follow(configMaps, (map) => (map.metadata.name === NAME ? map.metadata.namespace : undefined));

  c.run(async (name) => {
    const namespace = namespaceInformer.get(name);
    if (!namespace || namespace.metadata.deletionTimestamp) return;
    const current = maps.get(NAME, name);
    if (current && isRight(current)) return;
    try {
      if (current) await client.update(configMaps, desired(current));
      else await client.create(configMaps, desired({ metadata: { name: NAME, namespace: name } }));
    } catch (error) {
      if (!isAlreadyExists(error) && !isTerminatingNamespace(error)) throw error;
    }
  });

  const isRight = (map: ConfigMap): boolean =>
    map.data?.["ca.crt"] === bundle &&
    Object.keys(map.data).length === 1 &&
    map.metadata.annotations?.[DESCRIPTION] === description;

  const desired = (map: ConfigMap): ConfigMap => ({
    ...map, data: { "ca.crt": bundle },
    metadata: { ...map.metadata, annotations: { ...map.metadata.annotations, [DESCRIPTION]: description } },
  });
}

