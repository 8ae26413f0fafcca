import { describe, expect, it } from "vitest";
import { testSigningRequest } from "../auth/testing.ts";
import type { Obj } from "../resources/types.ts";
import { account, namespace, object, pod, refusal, world } from "./testing.ts";

describe("NamespaceLifecycle", () => {
  it("answers 404 for a missing namespace and 403 for an ending one", async () => {
    const { run } = world(namespace("old", {}, { status: { phase: "Terminating" } }));
    const map = (ns: string) => object("v1", "ConfigMap", "m", {}, ns);
    expect(await refusal(run(map("nope")))).toEqual({ code: 404, message: 'namespaces "nope" not found' });
    expect(await refusal(run(map("old")))).toEqual({
      code: 403,
      message: 'configmaps "m" is forbidden: unable to create new content in namespace old because it is being terminated',
      causes: [{ reason: "NamespaceTerminating", message: "namespace old is being terminated", field: "metadata.namespace" }],
    });
    expect((await refusal(run(map("old"), { operation: "UPDATE", oldObject: map("old") }))).code).toBe(0);
  });
  it.each(["default", "kube-system", "kube-public"])("keeps %s", async (name) => {
    const { run } = world();
    expect((await refusal(run(namespace(name), { operation: "DELETE" }))).message).toBe(`namespaces "${name}" is forbidden: this namespace may not be deleted`);
    expect((await refusal(run(namespace("mine"), { operation: "DELETE" }))).code).toBe(0);
  });
});

describe("ServiceAccount", () => {
  it("mounts the token of the default account", async () => {
    const { spec } = await world().run(pod({ initContainers: [{ name: "i" }] }));
    expect(spec.serviceAccountName).toBe("default");
    const mount = { name: "kube-api-access-bbbbb", readOnly: true, mountPath: "/var/run/secrets/kubernetes.io/serviceaccount" };
    expect(spec.containers[0].volumeMounts).toEqual([mount]);
    expect(spec.initContainers[0].volumeMounts).toEqual([mount]);
    expect(spec.volumes).toEqual([{ name: "kube-api-access-bbbbb", projected: { defaultMode: 420, sources: [
      { serviceAccountToken: { expirationSeconds: 3607, path: "token" } },
      { configMap: { name: "kube-root-ca.crt", items: [{ key: "ca.crt", path: "ca.crt" }] } },
      { downwardAPI: { items: [{ path: "namespace", fieldRef: { apiVersion: "v1", fieldPath: "metadata.namespace" } }] } },
    ] } }]);
  });
  it("waits a moment for the default account of a new namespace", async () => {
    const { run, view, onSleep } = world();
    view.remove(view.get("", "serviceaccounts", "default", "ns")!);
    expect((await refusal(run(pod()))).message).toContain('serviceaccount "default" not found');
    onSleep.push(() => view.add(account("default")));
    expect((await run(pod())).spec.volumes).toHaveLength(1);
  });
  it.each<[string, object, object, boolean]>([
    ["the account says no", { automountServiceAccountToken: false }, {}, false],
    ["the pod says no", {}, { automountServiceAccountToken: false }, false],
    ["the pod's yes beats the account's no", { automountServiceAccountToken: false }, { automountServiceAccountToken: true }, true],
  ])("mounts by the wish of pod and account: %s", async (_, accountRest, spec, mounted) => {
    const { run } = world(account("sa", accountRest));
    const result = await run(pod({ serviceAccountName: "sa", ...spec }));
    expect(Boolean(result.spec.volumes)).toBe(mounted);
  });
  it("gives the account's pull secrets, and refuses an account that is not there", async () => {
    const { run } = world(account("sa", { imagePullSecrets: [{ name: "reg" }] }));
    expect((await run(pod({ serviceAccountName: "sa" }))).spec.imagePullSecrets).toEqual([{ name: "reg" }]);
    expect(await refusal(run(pod({ serviceAccountName: "no" })))).toEqual({
      code: 403, message: 'pods "p" is forbidden: error looking up service account ns/no: serviceaccount "no" not found',
    });
  });
});

describe("LimitRanger", () => {
  const range = (item: object) => object("v1", "LimitRange", "lr", { spec: { limits: [item] } }, "ns");
  const withResources = (requests: object, limits: object) => pod({ containers: [{ name: "c", resources: { requests, limits } }] });
  it("fills in defaults, and says so", async () => {
    const { run } = world(range({ type: "Container", default: { cpu: "500m", memory: "1Gi" }, defaultRequest: { cpu: "100m" } }));
    const result = await run(withResources({}, { cpu: "300m" }));
    expect(result.spec.containers[0].resources).toEqual({ requests: { cpu: "100m" }, limits: { cpu: "300m", memory: "1Gi" } });
    expect(result.metadata!.annotations!["kubernetes.io/limit-ranger"]).toBe("LimitRanger plugin set: cpu request for container c; memory limit for container c");
  });
  it.each<[object, object, object, string]>([
    [{ type: "Container", min: { cpu: "200m" } }, { cpu: "100m" }, {}, "minimum cpu usage per Container is 200m, but request is 100m"],
    [{ type: "Container", min: { cpu: "200m" } }, {}, {}, "minimum cpu usage per Container is 200m.  No request is specified"],
    [{ type: "Container", max: { memory: "1Gi" } }, {}, { memory: "2Gi" }, "maximum memory usage per Container is 1Gi, but limit is 2Gi"],
    [{ type: "Container", max: { memory: "1Gi" } }, {}, {}, "maximum memory usage per Container is 1Gi.  No limit is specified"],
    [{ type: "Pod", max: { cpu: "1" } }, {}, { cpu: "1500m" }, "maximum cpu usage per Pod is 1, but limit is 1500m"],
    [{ type: "Container", maxLimitRequestRatio: { cpu: "2" } }, { cpu: "1" }, { cpu: "3" }, "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"],
  ])("refuses %j with %j %j", async (item, requests, limits, why) => {
    const { run } = world(range(item));
    expect(await refusal(run(withResources(requests, limits)))).toEqual({ code: 403, message: `pods "p" is forbidden: ${why}` });
  });
  it("bounds claims", async () => {
    const { run } = world(range({ type: "PersistentVolumeClaim", max: { storage: "1Gi" } }));
    const claim = object("v1", "PersistentVolumeClaim", "d", { spec: { resources: { requests: { storage: "2Gi" } } } }, "ns");
    expect((await refusal(run(claim))).message).toContain("maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi");
  });
});

describe("Priority and the pod defaults", () => {
  const high = object("scheduling.k8s.io/v1", "PriorityClass", "high", { value: 1000, preemptionPolicy: "Never" });
  it("turns the class into a number", async () => {
    const { run } = world(high);
    expect((await run(pod({ priorityClassName: "high" }))).spec).toMatchObject({ priority: 1000, preemptionPolicy: "Never" });
    expect((await run(pod())).spec).toMatchObject({ priority: 0, preemptionPolicy: "PreemptLowerPriority" });
    expect((await refusal(run(pod({ priorityClassName: "x" })))).message).toBe('pods "p" is forbidden: no PriorityClass with name x was found');
    expect((await refusal(run(pod({ priorityClassName: "high", priority: 7 })))).message).toContain("the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 1000");
  });
  it("takes the global default, and allows only one", async () => {
    const { run } = world({ ...high, globalDefault: true });
    expect((await run(pod())).spec).toMatchObject({ priorityClassName: "high", priority: 1000 });
    const other = object("scheduling.k8s.io/v1", "PriorityClass", "low", { value: 1, globalDefault: true });
    expect((await refusal(run(other, { resource: "priorityclasses" }))).message).toContain("PriorityClass high is already marked as default. Only one default can exist");
  });
  it("tolerates outages for five minutes, unless the pod says otherwise", async () => {
    const own = { key: "node.kubernetes.io/not-ready", operator: "Exists", effect: "NoExecute", tolerationSeconds: 7 };
    expect((await world().run(pod({ tolerations: [own] }))).spec.tolerations).toEqual([
      own, { key: "node.kubernetes.io/unreachable", operator: "Exists", effect: "NoExecute", tolerationSeconds: 300 },
    ]);
    expect((await world().run(pod({ tolerations: [{ operator: "Exists" }] }))).spec.tolerations).toHaveLength(1);
  });
  it("adds what the RuntimeClass brings", async () => {
    const kata = object("node.k8s.io/v1", "RuntimeClass", "kata", {
      handler: "kata", overhead: { podFixed: { cpu: "250m" } }, scheduling: { nodeSelector: { vm: "yes" } },
    });
    const { run } = world(kata);
    expect((await run(pod({ runtimeClassName: "kata" }))).spec).toMatchObject({ overhead: { cpu: "250m" }, nodeSelector: { vm: "yes" } });
    expect((await refusal(run(pod({ runtimeClassName: "no" })))).message).toBe('pods "p" is forbidden: pod rejected: RuntimeClass "no" not found');
    expect((await refusal(run(pod({ runtimeClassName: "kata", nodeSelector: { vm: "no" } })))).message).toContain("conflict: runtimeClass.scheduling.nodeSelector[vm] = yes");
  });
  it("taints a new node", async () => {
    expect((await world().run(object("v1", "Node", "n"))).spec.taints).toEqual([{ key: "node.kubernetes.io/not-ready", effect: "NoSchedule" }]);
  });
});

describe("storage and ingress", () => {
  const storageClass = (name: string, at: string, rest: object = {}) => ({
    ...object("storage.k8s.io/v1", "StorageClass", name, rest),
    metadata: { name, creationTimestamp: at, annotations: { "storageclass.kubernetes.io/is-default-class": "true" } },
  });
  const claim = (spec: object = {}, rest: object = {}) => object("v1", "PersistentVolumeClaim", "d", { spec, ...rest }, "ns");
  it("takes the newest default class, and protects the claim", async () => {
    const { run } = world(storageClass("a", "2026-01-01T00:00:00Z"), storageClass("b", "2026-02-01T00:00:00Z"));
    const made = await run(claim());
    expect(made.spec.storageClassName).toBe("b");
    expect(made.metadata!.finalizers).toEqual(["kubernetes.io/pvc-protection"]);
    expect((await run(claim({ storageClassName: "" }))).spec.storageClassName).toBe("");
  });
  it("lets only bound claims of an expandable class grow", async () => {
    const { run } = world(storageClass("a", "x", { allowVolumeExpansion: true }), storageClass("b", "y"));
    const sized = (storage: string, name: string, phase: string) =>
      claim({ storageClassName: name, resources: { requests: { storage } } }, { status: { phase } });
    const grow = (name: string, phase: string) => refusal(run(sized("2Gi", name, phase), { operation: "UPDATE", oldObject: sized("1Gi", name, phase) }));
    expect((await grow("a", "Bound")).code).toBe(0);
    expect((await grow("a", "Pending")).message).toContain("Only bound persistent volume claims can be expanded");
    expect((await grow("b", "Bound")).message).toContain("only dynamically provisioned pvc can be resized");
  });
  it("takes the default ingress class", async () => {
    const found = object("networking.k8s.io/v1", "IngressClass", "traefik");
    found.metadata!.annotations = { "ingressclass.kubernetes.io/is-default-class": "true" };
    const { run } = world(found);
    const made = await run(object("networking.k8s.io/v1", "Ingress", "i", { spec: {} }, "ns"), { resource: "ingresses" });
    expect(made.spec.ingressClassName).toBe("traefik");
  });
});

describe("ResourceQuota", () => {
  const quota = (hard: object, used: object, spec: object = {}) =>
    object("v1", "ResourceQuota", "q", { spec: { hard, ...spec }, status: { hard, used } }, "ns");
  const cpuPod = (name: string, cpu: string) =>
    ({ ...pod({ containers: [{ name: "c", resources: { requests: { cpu } } }] }), metadata: { name, namespace: "ns" } });

  it("writes down what it lets through", async () => {
    const { run, written } = world(quota({ pods: "2", cpu: "1" }, { pods: "0", cpu: "0" }));
    await run(cpuPod("a", "400m"));
    expect(written[0]?.status.used).toEqual({ pods: "1", cpu: "400m" });
  });
  it("refuses what does not fit, also when two come at once", async () => {
    const { run } = world(quota({ pods: "5", cpu: "1" }, { pods: "0", cpu: "0" }));
    const results = await Promise.all([refusal(run(cpuPod("a", "700m"))), refusal(run(cpuPod("b", "700m")))]);
    expect(results.map((r) => r.code)).toEqual([0, 403]);
    expect(results[1]!.message).toBe('pods "b" is forbidden: exceeded quota: q, requested: cpu=700m, used: cpu=700m, limited: cpu=1');
  });
  it("asks for requests that the quota counts", async () => {
    const { run } = world(quota({ "limits.cpu": "1", memory: "1Gi" }, { "limits.cpu": "0", memory: "0" }));
    expect((await refusal(run(pod()))).message).toBe('pods "p" is forbidden: failed quota: q: must specify limits.cpu for: c; memory for: c');
  });
  it("refuses while the status is not known", async () => {
    const { run } = world(quota({ configmaps: "2" }, {}));
    expect((await refusal(run(object("v1", "ConfigMap", "m", {}, "ns")))).message)
      .toBe('configmaps "m" is forbidden: status unknown for quota: q, resources: configmaps');
  });
  it("counts other groups, claims by class and node ports", async () => {
    const used = { "count/deployments.apps": "0", "fast.storageclass.storage.k8s.io/requests.storage": "0", "services.nodeports": "0" };
    const { run, written } = world(quota({ "count/deployments.apps": "1", "fast.storageclass.storage.k8s.io/requests.storage": "10Gi", "services.nodeports": "5" }, used));
    await run(object("apps/v1", "Deployment", "d", {}, "ns"));
    await run(object("v1", "PersistentVolumeClaim", "c", { spec: { storageClassName: "fast", resources: { requests: { storage: "3Gi" } } } }, "ns"));
    await run(object("v1", "Service", "s", { spec: { type: "NodePort", ports: [{ port: 1 }, { port: 2 }] } }, "ns"));
    expect(written.at(-1)?.status.used).toEqual({
      "count/deployments.apps": "1", "fast.storageclass.storage.k8s.io/requests.storage": "3Gi", "services.nodeports": "2",
    });
  });
  it.each<[object, object, number]>([
    [{ scopes: ["BestEffort"] }, pod(), 403],
    [{ scopes: ["NotBestEffort"] }, pod(), 0],
    [{ scopes: ["Terminating"] }, pod({ activeDeadlineSeconds: 5 }), 403],
    [{ scopes: ["NotTerminating"] }, pod({ activeDeadlineSeconds: 5 }), 0],
    [{ scopeSelector: { matchExpressions: [{ scopeName: "PriorityClass", operator: "In", values: ["x"] }] } }, pod(), 0],
  ])("applies by scope: %j", async (spec, given, code) => {
    const { run } = world(quota({ pods: "0" }, { pods: "0" }, spec));
    expect((await refusal(run(given as Obj))).code).toBe(code);
  });
  it("charges nothing for a dry run", async () => {
    const { run, written } = world(quota({ pods: "2" }, { pods: "0" }));
    await run(pod(), { dryRun: true });
    expect(written).toEqual([]);
  });
});

describe("PodSecurity", () => {
  const inNamespace = (level: string) => {
    const w = world();
    w.view.remove(w.view.get("", "namespaces", "ns")!);
    w.view.add(namespace("ns", { "pod-security.kubernetes.io/enforce": level }));
    return w;
  };
  const good = {
    securityContext: { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } },
    containers: [{ name: "c", securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } } }],
  };
  it("lists all that restricted forbids, in upstream's words", async () => {
    expect((await refusal(inNamespace("restricted").run(pod()))).message).toBe(
      'pods "p" is forbidden: violates PodSecurity "restricted:latest": ' +
      'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), ' +
      'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), ' +
      'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), ' +
      'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")');
    expect((await refusal(inNamespace("restricted").run(pod(good)))).code).toBe(0);
  });
  it.each<[object, string]>([
    [{ hostNetwork: true, hostPID: true }, "host namespaces (hostNetwork=true, hostPID=true)"],
    [{ containers: [{ name: "c", securityContext: { privileged: true } }] }, 'privileged (container "c" must not set securityContext.privileged=true)'],
    [{ containers: [{ name: "c", securityContext: { capabilities: { add: ["NET_ADMIN"] } } }] }, 'non-default capabilities (container "c" must not include "NET_ADMIN" in securityContext.capabilities.add)'],
    [{ volumes: [{ name: "v", hostPath: { path: "/" } }] }, 'hostPath volumes (volume "v")'],
    [{ containers: [{ name: "c", ports: [{ hostPort: 80 }] }] }, 'hostPort (container "c" uses hostPort 80)'],
    [{ securityContext: { sysctls: [{ name: "kernel.msgmax" }] } }, "forbidden sysctls (kernel.msgmax)"],
    [{ securityContext: { seccompProfile: { type: "Unconfined" } } }, 'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")'],
  ])("baseline refuses %j", async (spec, text) => {
    expect((await refusal(inNamespace("baseline").run(pod(spec)))).message).toBe(`pods "p" is forbidden: violates PodSecurity "baseline:latest": ${text}`);
  });
  it("leaves namespaces without labels alone, and refuses an unknown level", async () => {
    expect((await refusal(world().run(pod({ hostNetwork: true })))).code).toBe(0);
    expect((await refusal(world().run(namespace("x", { "pod-security.kubernetes.io/enforce": "loose" })))).code).toBe(422);
  });
});

describe("certificates", () => {
  const masters = testSigningRequest({ names: ["root"], organizations: ["dev", "system:masters"] });
  const csr = (signerName: string) => object("certificates.k8s.io/v1", "CertificateSigningRequest", "r", { spec: { signerName, request: masters } });
  it("refuses a client certificate for system:masters", async () => {
    expect((await refusal(world().run(csr("kubernetes.io/kube-apiserver-client")))).message).toBe(
      'certificatesigningrequests.certificates.k8s.io "r" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed');
    expect((await refusal(world().run(csr("example.com/other")))).code).toBe(0);
  });
  it("asks for the right to approve", async () => {
    const update = { operation: "UPDATE", subresource: "approval", oldObject: csr("example.com/s"), user: { name: "joe", groups: [] } } as const;
    expect((await refusal(world().run(csr("example.com/s"), update))).message)
      .toContain('user not permitted to approve requests with signerName "example.com/s"');
  });
});
