import { describe, expect, test } from "vitest";
import { namespace, object, pod, refusal, type World, worldWith } from "./testing.ts";
import { readPodSecurity } from "./pod-security-config.ts";

const PREFIX = "pod-security.kubernetes.io/";
const labelled = (labels: Record<string, string>): Record<string, string> => Object.fromEntries(Object.entries(labels).map(([key, value]) => [PREFIX + key, value]));

/** `ns` with these labels. */
function worldOf(labels: Record<string, string>, config: object = {}): World {
  const made = worldWith({ settings: { enabled: new Set(), disabled: new Set(), podSecurity: readPodSecurity(config) } });
  made.view.remove(made.view.get("", "namespaces", "ns")!);
  made.view.add(namespace("ns", labelled(labels)));
  return made;
}

const c = (rest: object): object => ({ containers: [{ name: "c", ...rest }] });
const host = 'host namespaces (hostNetwork=true)';

describe("the modes", () => {
  test("warn and audit tell and let pass", async () => {
    const { run, warnings, annotations } = worldOf({ warn: "baseline", audit: "baseline", "audit-version": "v1.30" });
    expect((await refusal(run(pod({ hostNetwork: true })))).code).toBe(0);
    expect(warnings).toEqual([`would violate PodSecurity "baseline:latest": ${host}`]);
    expect(annotations).toEqual({ [`${PREFIX}enforce-policy`]: "privileged:latest", [`${PREFIX}audit-violations`]: `would violate PodSecurity "baseline:v1.30": ${host}` });
  });

  test("what is refused is not warned of, and audited all the same", async () => {
    const { run, warnings, annotations } = worldOf({ enforce: "baseline", warn: "restricted", audit: "baseline" });
    expect((await refusal(run(pod({ hostNetwork: true })))).message).toContain(`violates PodSecurity "baseline:latest": ${host}`);
    expect([warnings, annotations]).toEqual([[], { [`${PREFIX}enforce-policy`]: "baseline:latest", [`${PREFIX}audit-violations`]: `would violate PodSecurity "baseline:latest": ${host}` }]);
  });

  test.each([
    ["apps/v1", "Deployment", (template: object) => ({ spec: { template } })],
    ["apps/v1", "ReplicaSet", (template: object) => ({ spec: { template } })],
    ["apps/v1", "StatefulSet", (template: object) => ({ spec: { template } })],
    ["apps/v1", "DaemonSet", (template: object) => ({ spec: { template } })],
    ["batch/v1", "Job", (template: object) => ({ spec: { template } })],
    ["batch/v1", "CronJob", (template: object) => ({ spec: { jobTemplate: { spec: { template } } } })],
    ["v1", "ReplicationController", (template: object) => ({ spec: { template } })],
    ["v1", "PodTemplate", (template: object) => ({ template })],
  ])("of a %s %s the template is warned of, never refused", async (apiVersion, kind, rest) => {
    const { run, warnings, annotations } = worldOf({ enforce: "restricted", warn: "baseline", audit: "baseline" });
    const made = run(object(apiVersion, kind, "x", rest({ spec: { hostNetwork: true, containers: [{ name: "c" }] } }), "ns"));
    expect((await refusal(made)).code).toBe(0);
    expect([warnings, Object.keys(annotations)]).toEqual([[`would violate PodSecurity "baseline:latest": ${host}`], [`${PREFIX}audit-violations`]]);
  });

  test("labels that cannot be read enforce the strictest, and neither warn nor audit", async () => {
    const { run, annotations } = worldOf({ enforce: "loose", "enforce-version": "one", warn: "loose" });
    expect((await refusal(run(pod(c({}))))).message).toContain('violates PodSecurity "restricted:latest"');
    expect(annotations[`${PREFIX}error`]).toBe(
      'Failed to parse policy: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "loose": must be one of privileged, baseline, restricted, ' +
      'metadata.labels[pod-security.kubernetes.io/enforce-version]: Invalid value: "one": must be "latest" or "v1.x", ' +
      'metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: "loose": must be one of privileged, baseline, restricted');
  });

  test("an update that changes no image is not looked at", async () => {
    const { run } = worldOf({ enforce: "baseline" });
    const bad = (image: string): ReturnType<typeof pod> => pod({ hostNetwork: true, containers: [{ name: "c", image }] });
    expect((await refusal(run(bad("i"), { operation: "UPDATE", oldObject: bad("i") }))).code).toBe(0);
    expect((await refusal(run(bad("j"), { operation: "UPDATE", oldObject: bad("i") }))).code).toBe(403);
    const debugged = pod({ ...bad("i")["spec"], ephemeralContainers: [{ name: "e", image: "i" }] });
    expect((await refusal(run(debugged, { operation: "UPDATE", subresource: "ephemeralcontainers", oldObject: bad("i") }))).code).toBe(403);
  });

  test("a namespace that gets stricter warns of the pods that are there", async () => {
    const { run, view, warnings } = worldOf({});
    for (const name of ["b", "a", "d"]) view.add({ ...pod({ hostNetwork: true }), metadata: { name, namespace: "ns" } });
    view.add({ ...pod({ hostPID: true, ...c({ securityContext: { privileged: true } }) }), metadata: { name: "e", namespace: "ns" } });
    view.add({ ...pod(), metadata: { name: "fine", namespace: "ns" } });
    const now = namespace("ns", labelled({ enforce: "baseline" }));
    await run(now, { operation: "UPDATE", oldObject: namespace("ns") });
    expect(warnings.splice(0)).toEqual([
      'existing pods in namespace "ns" violate the new PodSecurity enforce level "baseline:latest"',
      "a (and 2 other pods): host namespaces", "e: host namespaces, privileged",
    ]);
    await run(namespace("ns", labelled({ enforce: "privileged" })), { operation: "UPDATE", oldObject: now });
    expect(warnings).toEqual([]);
  });

  test("labels that were wrong before do not stand in the way of another change", async () => {
    const { run } = worldOf({});
    const bad = namespace("x", labelled({ enforce: "loose" }));
    expect((await refusal(run({ ...bad, metadata: { ...bad.metadata, annotations: { a: "b" } } }, { operation: "UPDATE", oldObject: bad }))).code).toBe(0);
    expect((await refusal(run(bad, { operation: "UPDATE", oldObject: namespace("x") }))).code).toBe(422);
  });
});

describe("the configuration", () => {
  test("gives namespaces without labels their standards", async () => {
    const { run, warnings } = worldOf({}, { defaults: { enforce: "baseline", "enforce-version": "v1.30", warn: "restricted" } });
    expect((await refusal(run(pod({ hostNetwork: true })))).message).toContain('violates PodSecurity "baseline:v1.30"');
    await run(pod());
    expect(warnings[0]).toMatch(/^would violate PodSecurity "restricted:latest": allowPrivilegeEscalation/);
    expect((await refusal(worldOf({ enforce: "privileged" }, { defaults: { enforce: "baseline" } }).run(pod({ hostNetwork: true })))).code).toBe(0);
  });

  test.each([
    [{ namespaces: ["ns"] }, {}, "namespace"], [{ usernames: ["joe"] }, {}, "user"], [{ runtimeClasses: ["kata"] }, { runtimeClassName: "kata" }, "runtimeClass"],
  ])("exempts %j", async (exemptions, spec, kind) => {
    const { run, view, annotations } = worldOf({ enforce: "restricted" }, { exemptions });
    view.add(object("node.k8s.io/v1", "RuntimeClass", "kata", { handler: "kata" }));
    expect((await refusal(run(pod({ hostNetwork: true, ...spec })))).code).toBe(0);
    expect(annotations[`${PREFIX}exempt`]).toBe(kind);
  });

  test.each([
    [{ defaults: { enforce: "loose" } }, 'defaults.enforce: Invalid value: "loose": must be one of privileged, baseline, restricted'],
    [{ defaults: { "warn-version": "1" } }, 'defaults.warn-version: Invalid value: "1": must be "latest" or "v1.x"'],
    [{ exemptions: { usernames: [""] } }, "exemptions.usernames: must be a list of names"],
  ])("is refused: %j", (config, message) => {
    expect(() => readPodSecurity(config)).toThrow(message);
  });
});

/** What each check finds, with upstream's words. */
describe.each<[string, readonly (readonly [object, string])[]]>([
  ["baseline", [
    [{ hostNetwork: true, hostPID: true, hostIPC: true }, "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)"],
    [{ containers: [{ name: "a", securityContext: { privileged: true } }, { name: "b", securityContext: { privileged: true } }] }, 'privileged (containers "a", "b" must not set securityContext.privileged=true)'],
    [c({ securityContext: { capabilities: { add: ["NET_ADMIN", "CHOWN"] } } }), 'non-default capabilities (container "c" must not include "NET_ADMIN" in securityContext.capabilities.add)'],
    [{ volumes: [{ name: "v", hostPath: { path: "/" } }] }, 'hostPath volumes (volume "v")'],
    [c({ ports: [{ hostPort: 80 }, { hostPort: 443 }] }), 'hostPort (container "c" uses hostPorts 80, 443)'],
    [c({ securityContext: { procMount: "Unmasked" } }), 'procMount (container "c" must not set securityContext.procMount to "Unmasked")'],
    [{ securityContext: { seLinuxOptions: { user: "u" } } }, "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: user may not be set)"],
    [{ securityContext: { seccompProfile: { type: "Unconfined" } } }, 'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")'],
    [{ securityContext: { sysctls: [{ name: "kernel.msgmax" }] } }, "forbidden sysctls (kernel.msgmax)"],
    [{ securityContext: { windowsOptions: { hostProcess: true } } }, "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)"],
    [{ securityContext: { appArmorProfile: { type: "Unconfined" } } }, 'forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")'],
  ]],
  ["restricted", [
    [c({ securityContext: { capabilities: { drop: ["ALL"], add: ["CHOWN"] }, allowPrivilegeEscalation: false } }), 'unrestricted capabilities (container "c" must not include "CHOWN" in securityContext.capabilities.add)'],
    [{ volumes: [{ name: "v", hostPath: { path: "/" } }, { name: "w", nfs: {} }] }, 'restricted volume types (volumes "v", "w" use restricted volume types "hostPath", "nfs")'],
    [{ securityContext: { runAsNonRoot: true, runAsUser: 0, seccompProfile: { type: "RuntimeDefault" } } }, "runAsUser=0 (pod must not set runAsUser=0)"],
    [{ securityContext: { runAsNonRoot: false, seccompProfile: { type: "RuntimeDefault" } } }, "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)"],
  ]],
])("%s", (level, cases) => {
  const good = { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } };
  const complete = level === "restricted" ? { securityContext: { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } }, ...c({ securityContext: good }) } : {};
  test.each(cases)("%j", async (spec, text) => {
    expect((await refusal(worldOf({ enforce: level }).run(pod({ ...complete, ...spec })))).message).toBe(`pods "p" is forbidden: violates PodSecurity "${level}:latest": ${text}`);
  });
});

test.each<[string, string, object, boolean]>([
  ["baseline", "v1.26", { securityContext: { sysctls: [{ name: "net.ipv4.ip_local_reserved_ports" }] } }, false],
  ["baseline", "v1.27", { securityContext: { sysctls: [{ name: "net.ipv4.ip_local_reserved_ports" }] } }, true],
  ["baseline", "v1.30", { securityContext: { seLinuxOptions: { type: "container_engine_t" } } }, false],
  ["baseline", "v1.31", { securityContext: { seLinuxOptions: { type: "container_engine_t" } } }, true],
  ["baseline", "v1.33", c({ livenessProbe: { httpGet: { host: "example.com" } } }), true],
  ["baseline", "v1.34", c({ livenessProbe: { httpGet: { host: "example.com" } } }), false],
  ["restricted", "v1.24", { os: { name: "windows" }, securityContext: { runAsNonRoot: true } }, false],
  ["restricted", "v1.25", { os: { name: "windows" }, securityContext: { runAsNonRoot: true } }, true],
  ["restricted", "v1.7", { securityContext: { runAsNonRoot: true, runAsUser: 0 } }, true],
])("the standard %s of %s counts: %j", async (enforce, version, spec, passes) => {
  const { code } = await refusal(worldOf({ enforce, "enforce-version": version }).run(pod(spec)));
  expect(code).toBe(passes ? 0 : 403);
});
