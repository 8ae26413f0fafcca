/** What is accepted and warned of, in the header that kubectl prints. */
import { beforeAll, describe, expect, test } from "vitest";
import { type Answer, type Body, usable, useCluster } from "./api.ts";

const api = useCluster({ controllers: ["serviceaccount"] });
beforeAll(() => usable(api, "default"));

const container = { name: "c", image: "example.com/c" };
const template = { metadata: { labels: { a: "b" } }, spec: { containers: [container] } };
const core = "/api/v1/namespaces/default";
const pod = (spec: object, metadata: object = {}): Body => ({ metadata: { name: "w", ...metadata }, spec: { containers: [container], ...spec } });
const deployment = (name: string, spec: object = {}): Body => ({ metadata: { name }, spec: { selector: { matchLabels: { a: "b" } }, template: { ...template, spec: { ...template.spec, ...spec } } } });
const service = (spec: object): Body => ({ metadata: { name: "w" }, spec: { ports: [{ port: 80 }], ...spec } });
const deployments = "/apis/apps/v1/namespaces/default/deployments";

/** The texts of `299 - "..."`. */
const warnings = ({ headers }: Answer): string[] =>
  [headers["warning"] ?? []].flat().flatMap((text) => [...String(text).matchAll(/299 - ("(?:[^"\\]|\\.)*")/g)].map(([, json]) => JSON.parse(json!) as string));

describe("a new object is warned of", () => {
  test.each<[string, Body, string]>([
    [`${core}/pods`, pod({ containers: [{ ...container, env: [{ name: "A", value: "1" }, { name: "A", value: "2" }] }] }), 'spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply'],
    [`${core}/pods`, pod({ containers: [{ ...container, ports: [{ containerPort: 80 }, { containerPort: 80 }] }] }), "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"],
    [`${core}/pods`, pod({ containers: [{ ...container, ports: [{ containerPort: 80 }, { containerPort: 80, hostPort: 80 }] }] }), "spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]"],
    [`${core}/pods`, pod({ containers: [{ ...container, ports: [{ containerPort: 80, hostPort: 80, hostIP: "1.2.3.4" }, { containerPort: 80, hostPort: 80 }] }] }), "spec.containers[0].ports[1]: dangerously ambiguous port definition with spec.containers[0].ports[0]"],
    [`${core}/pods`, pod({ containers: [container, { ...container, name: "d" }].map((c) => ({ ...c, ports: [{ containerPort: 80 }] })) }), "spec.containers[1].ports[0]: duplicate port definition with spec.containers[0].ports[0]"],
    [`${core}/pods`, pod({ containers: [{ ...container, ports: [{ containerPort: 80, hostIP: "1.2.3.4" }] }] }), "spec.containers[0].ports[0]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:1.2.3.4}"],
    [`${core}/pods`, pod({ hostAliases: [{ ip: "1.2.3.4" }, { ip: "1.2.3.4" }] }), 'spec.hostAliases[1].ip: duplicate ip "1.2.3.4"'],
    [`${core}/pods`, pod({ imagePullSecrets: [{ name: "a" }, { name: "a" }] }), 'spec.imagePullSecrets[1].name: duplicate name "a"'],
    [`${core}/pods`, pod({ volumes: [{ name: "v", ephemeral: { volumeClaimTemplate: { spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1500m" } } } } } }] }), 'spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer'],
    [`${core}/serviceaccounts`, { metadata: { name: "w", annotations: { "kubernetes.io/enforce-mountable-secrets": "true" } } }, "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"],
    ["/apis/storage.k8s.io/v1/storageclasses", { metadata: { name: "w" }, provisioner: "a/b", allowedTopologies: [{ matchLabelExpressions: [{ key: "failure-domain.beta.kubernetes.io/zone", values: ["a"] }] }] }, 'allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.17; use "topology.kubernetes.io/zone" instead'],
    ["/apis/node.k8s.io/v1/runtimeclasses", { metadata: { name: "w" }, handler: "h", scheduling: { nodeSelector: { "beta.kubernetes.io/arch": "amd64" } } }, 'scheduling.nodeSelector: deprecated since v1.14; use "kubernetes.io/arch" instead'],
    [`${core}/pods`, pod({ containers: [{ ...container, resources: { requests: { memory: "1500m" } } }] }), 'spec.containers[0].resources.requests[memory]: fractional byte value "1500m" is invalid, must be an integer'],
    [`${core}/pods`, pod({ nodeSelector: { "beta.kubernetes.io/os": "linux" } }), 'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'],
    [`${core}/pods`, pod({ terminationGracePeriodSeconds: -1 }), "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"],
    [`${core}/pods`, pod({ imagePullSecrets: [{}] }), 'spec.imagePullSecrets[0].name: invalid empty name ""'],
    [`${core}/pods`, pod({ topologySpreadConstraints: [{ maxSkew: 1, topologyKey: "z", whenUnsatisfiable: "DoNotSchedule" }] }), "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod"],
    [`${core}/pods`, pod({ affinity: { podAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, podAffinityTerm: { topologyKey: "z" } }] } } }), "spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod"],
    [`${core}/pods`, pod({ volumes: [{ name: "v", gitRepo: { repository: "x" } }] }), "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"],
    [`${core}/pods`, pod({}, { annotations: { "seccomp.security.alpha.kubernetes.io/pod": "runtime/default" } }), 'metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead'],
    [`${core}/pods`, pod({}, { name: "a.b" }), "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [a lowercase RFC 1123 label must"],
    [deployments, deployment("a.b"), "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: ["],
    [deployments, deployment("w", { nodeSelector: { "beta.kubernetes.io/arch": "amd64" } }), "spec.template.spec.nodeSelector[beta.kubernetes.io/arch]: deprecated since v1.14"],
    [`${core}/services`, service({ externalName: "x.example" }), 'spec.externalName is ignored when spec.type is not "ExternalName"'],
    [`${core}/services`, service({ clusterIP: "None", sessionAffinity: "ClientIP" }), "spec.SessionAffinity is ignored for headless services"],
    [`${core}/persistentvolumeclaims`, { metadata: { name: "w", annotations: { "volume.beta.kubernetes.io/storage-class": "x" } }, spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1500m" } } } }, 'fractional byte value "1500m"'],
    ["/apis/networking.k8s.io/v1/namespaces/default/ingresses", { metadata: { name: "w", annotations: { "kubernetes.io/ingress.class": "x" } }, spec: { defaultBackend: { service: { name: "s", port: { number: 80 } } } } }, `annotation "kubernetes.io/ingress.class" is deprecated, please use 'spec.ingressClassName' instead`],
  ])("%s: %j", async (path, object, warning) => {
    const answer = await api.call("POST", `${path}?dryRun=All`, object);
    expect([answer.status, answer.body.message]).toEqual([201, undefined]);
    expect(warnings(answer)).toContainEqual(expect.stringContaining(warning));
  });

  test("not at all when there is nothing to say", async () => {
    const extended = { ...container, env: [{ name: "A", value: "1" }, { name: "A", value: "$(A),2" }], ports: [{ containerPort: 80 }, { containerPort: 80, protocol: "UDP" }] };
    expect(warnings(await api.call("POST", `${core}/pods?dryRun=All`, pod({ containers: [extended] })))).toEqual([]);
  });
});

test("an update is warned of when it changes the spec, and not when it changes a label", async () => {
  const made = await api.call("POST", deployments, deployment("updated", { nodeSelector: { "beta.kubernetes.io/os": "linux" } }));
  const patch = (body: object) => api.call("PATCH", `${deployments}/updated`, body, { "content-type": "application/merge-patch+json" });
  const [label, spec] = [await patch({ metadata: { labels: { a: "b" } } }), await patch({ spec: { replicas: 2 } })];
  expect([made, label, spec].map((answer) => warnings(answer).length)).toEqual([1, 0, 1]);
});

test("a pod with a negative grace period is deleted with one of a second", async () => {
  await api.call("POST", `${core}/pods`, pod({ terminationGracePeriodSeconds: -5, nodeName: "n" }, { name: "negative" }));
  expect((await api.del(`${core}/pods/negative`)).metadata.deletionGracePeriodSeconds).toBe(1);
});
