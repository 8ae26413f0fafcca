import { describe, expect, it } from "vitest";
import type { ConfigMap, Pod, Secret, Service } from "@k3s-p/plugin-api/kube";
import { containerEnv, expand, fieldValue, formatMap, resourceFieldValue, serviceEnv, type EnvSources } from "./env.ts";

const pod = {
  metadata: { name: "web", namespace: "ns", uid: "u1", labels: { b: "2", a: 'x"y' }, annotations: { k: "v" } },
  spec: { serviceAccountName: "sa", containers: [{ name: "c", resources: { limits: { cpu: "1500m" }, requests: { memory: "32Mi" } } }] },
} as unknown as Pod;

const service = (name: string, namespace: string, clusterIP: string, ports: object[]): Service =>
  ({ metadata: { name, namespace }, spec: { clusterIP, ports } }) as unknown as Service;

const sources: EnvSources = {
  configMap: async (name) => (name === "cm" ? ({ data: { a: "1", b: "2" } } as unknown as ConfigMap) : undefined),
  secret: async (name) => (name === "sec" ? ({ data: { pw: Buffer.from("geheim").toString("base64") } } as unknown as Secret) : undefined),
  file: async (volume, path) => (volume === "shared" && path === "env" ? "FROM_FILE='1'\n" : undefined),
  services: [service("my-db", "ns", "10.43.0.9", [{ name: "sql", port: 5432, protocol: "TCP" }]), service("kubernetes", "default", "10.43.0.1", [{ name: "https", port: 443 }])],
  podIps: ["10.42.0.5"], nodeName: "n1", hostIps: ["192.0.2.1"], allocatable: { cpu: "4", memory: "8Gi" },
};

describe("expansion of $(NAME)", () => {
  const values = new Map([["A", "1"], ["B", "$(A)"]]);
  it.each([
    ["$(A)", "1"], ["x-$(A)-y", "x-1-y"], ["$$(A)", "$(A)"], ["$$$(A)", "$1"], ["$(NONE)", "$(NONE)"], ["$(B)", "$(A)"], ["$A", "$A"], ["$(A", "$(A"],
  ])("%s -> %s", (text, wanted) => expect(expand(text, values)).toBe(wanted));
});

describe("a container's environment", () => {
  const env = async (spec: object): Promise<Record<string, string>> =>
    Object.fromEntries(await containerEnv({ ...pod, spec: { ...pod.spec!, enableServiceLinks: false } } as Pod, { name: "c", ...spec } as never, { ...sources, services: [] }));

  it("composes variables in order, and later names win over envFrom", async () => {
    expect(await env({
      envFrom: [{ prefix: "P_", configMapRef: { name: "cm" } }, { secretRef: { name: "sec" } }],
      env: [{ name: "X", value: "$(P_a)$(pw)" }, { name: "P_b", value: "own" }, { name: "Y", value: "$(X)!" }],
    })).toEqual({ P_a: "1", P_b: "own", pw: "geheim", X: "1geheim", Y: "1geheim!" });
  });

  it("refuses a missing name unless it is optional", async () => {
    await expect(env({ envFrom: [{ configMapRef: { name: "no" } }] })).rejects.toThrow('configmap "no" not found');
    await expect(env({ env: [{ name: "A", valueFrom: { secretKeyRef: { name: "sec", key: "no" } } }] })).rejects.toThrow("couldn't find key no in Secret ns/sec");
    expect(await env({ env: [{ name: "A", valueFrom: { secretKeyRef: { name: "no", key: "k", optional: true } } }] })).toEqual({});
  });

  it("takes keys of files, which must be there unless they are optional", async () => {
    const from = (path: string, key: string, optional = false): Promise<Record<string, string>> =>
      env({ env: [{ name: "A", valueFrom: { fileKeyRef: { volumeName: "shared", path, key, optional } } }] });
    expect(await from("env", "FROM_FILE")).toEqual({ A: "1" });
    expect(await from("env", "OTHER", true)).toEqual({});
    await expect(from("env", "OTHER")).rejects.toThrow('environment variable key "OTHER" not found in file "env" of volume "shared"');
    await expect(from("absent", "A")).rejects.toThrow('environment variable key "A" not found in file "absent" of volume "shared"');
  });

  it("takes fields and resources of the pod", async () => {
    expect(await env({
      env: [
        { name: "IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } },
        { name: "NODE", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
        { name: "LABEL", valueFrom: { fieldRef: { fieldPath: "metadata.labels['b']" } } },
        { name: "CPU", valueFrom: { resourceFieldRef: { containerName: "c", resource: "limits.cpu" } } },
      ],
    })).toEqual({ IP: "10.42.0.5", NODE: "n1", LABEL: "2", CPU: "2" });
  });
});

it("uses the node's allocatable for limits that are not set, and the limit for requests", () => {
  const field = (resource: string, divisor?: string): string => resourceFieldValue(pod, undefined, { containerName: "c", resource, ...(divisor && { divisor }) }, sources.allocatable);
  expect(field("limits.memory", "1Mi")).toBe("8192");
  expect(field("limits.cpu", "1m")).toBe("1500");
  expect(field("requests.cpu", "1m")).toBe("1500");
  expect(field("requests.memory", "1Mi")).toBe("32");
});

it("prints label maps sorted and quoted", () => {
  expect(formatMap(pod.metadata.labels)).toBe('a="x\\"y"\nb="2"');
  expect(fieldValue(pod, "metadata.annotations", sources)).toBe('k="v"');
});

describe("service variables", () => {
  it("come in docker-link form for the pod's namespace and the API server", () => {
    const vars = Object.fromEntries(serviceEnv(pod, sources.services));
    expect(vars).toMatchObject({
      MY_DB_SERVICE_HOST: "10.43.0.9", MY_DB_SERVICE_PORT: "5432", MY_DB_SERVICE_PORT_SQL: "5432",
      MY_DB_PORT: "tcp://10.43.0.9:5432", MY_DB_PORT_5432_TCP: "tcp://10.43.0.9:5432",
      MY_DB_PORT_5432_TCP_PROTO: "tcp", MY_DB_PORT_5432_TCP_PORT: "5432", MY_DB_PORT_5432_TCP_ADDR: "10.43.0.9",
      KUBERNETES_SERVICE_HOST: "10.43.0.1",
    });
  });

  it("are those of the API server alone without service links", () => {
    const vars = [...serviceEnv({ ...pod, spec: { ...pod.spec!, enableServiceLinks: false } } as Pod, sources.services).keys()];
    expect(vars.every((name) => name.startsWith("KUBERNETES_"))).toBe(true);
  });
});
