import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { generate, writeGenerated } from "../../build/openapi.ts";
import type { Obj } from "../resources/types.ts";
import { checkFields, unknownFields } from "./fields.ts";

beforeAll(() => {
  const folder = fileURLToPath(new URL("../../generated", import.meta.url));
  if (!existsSync(folder)) writeGenerated(folder, generate());
});

const pod = { group: "", version: "v1", kind: "Pod" };
const messageOf = (run: () => unknown): string => {
  try {
    run();
    return "";
  } catch (error) {
    return (error as Error).message;
  }
};

describe("unknownFields", () => {
  it("names what the kind does not have, with its path", () => {
    const object = { apiVersion: "v1", kind: "Pod", foo: 1, metadata: { name: "p", bar: "x" }, spec: { containers: [{ name: "c" }, { name: "d", baz: {} }] } };
    expect(unknownFields("", "v1", "Pod", object)).toEqual(["foo", "metadata.bar", "spec.containers[1].baz"]);
  });
  it("leaves free-form parts and unknown kinds alone", () => {
    expect(unknownFields("apps", "v1", "ControllerRevision", { data: { any: { thing: 1 } }, revision: 1 })).toEqual([]);
    expect(unknownFields("", "v1", "ConfigMap", { data: { "a.b": "c" } })).toEqual([]);
    expect(unknownFields("example.com", "v1", "Foo", { spec: { any: 1 } })).toEqual([]);
    expect(unknownFields("apiextensions.k8s.io", "v1", "CustomResourceDefinition", {
      spec: { versions: [{ schema: { openAPIV3Schema: { properties: { spec: { items: { type: "object", nope: 1 } } } } } }] },
    })).toEqual([]);
  });
});

describe("checkFields", () => {
  it("drops unknown fields and nulls, and warns", () => {
    const body = { spec: { nodeName: null, foo: 1, containers: [{ name: "c", command: null }] } } as unknown as Obj;
    expect(checkFields(pod, body, "Warn")).toEqual(['unknown field "spec.foo"']);
    expect(body).toEqual({ spec: { containers: [{ name: "c" }] } });
  });
  it("refuses under Strict in upstream's words", () => {
    expect(messageOf(() => checkFields(pod, { spec: { foo: 1, bar: 2 } } as unknown as Obj, "Strict")))
      .toBe('Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.foo", unknown field "spec.bar"');
  });
  it.each<[string, object, string]>([
    ["apps/Deployment", { spec: { replicas: "three" } }, 'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32'],
    ["/Pod", { spec: { containers: {} } }, 'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container'],
    ["/Pod", { spec: { containers: [{ env: [{ name: "A", value: 1 }] }] } }, "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string"],
    ["/Pod", { metadata: { labels: { a: true } } }, "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string"],
    ["/Pod", { spec: { containers: [{ resources: { limits: { cpu: "x" } } }] } }, "quantities must match the regular expression"],
    ["/Pod", { metadata: { creationTimestamp: "yesterday" } }, 'parsing time "yesterday" as'],
    ["/Secret", { data: { a: "%%" } }, "illegal base64 data at input byte 0"],
  ])("refuses a wrong type in %s: %j", (kind, body, message) => {
    const [group = "", name = ""] = kind.split("/");
    expect(messageOf(() => checkFields({ group, version: "v1", kind: name }, body as Obj, "Ignore"))).toContain(message);
  });
  it("takes numbers and text for ports and quantities", () => {
    const body = { spec: { containers: [{ name: "c", livenessProbe: { httpGet: { port: 80 } }, readinessProbe: { httpGet: { port: "web" } }, resources: { limits: { cpu: 1 } } }] } };
    expect(messageOf(() => checkFields(pod, body as unknown as Obj, "Strict"))).toBe("");
  });

  it("drops empty values that say nothing, as upstream's types do, and keeps those that do", () => {
    const empty = (group: string, kind: string, body: object) => {
      const object = structuredClone(body) as Obj;
      checkFields({ group, version: "v1", kind }, object, "Strict");
      return object;
    };
    expect(empty("", "Pod", { metadata: { labels: {}, ownerReferences: [], finalizers: [] }, spec: { hostNetwork: false, nodeName: "", hostUsers: false, priority: 0, volumes: [{ name: "v", emptyDir: {} }], containers: [], tolerations: [] } }))
      .toEqual({ metadata: {}, spec: { hostUsers: false, priority: 0, volumes: [{ name: "v", emptyDir: {} }], containers: [] } });
    expect(empty("", "PersistentVolumeClaim", { spec: { storageClassName: "", volumeName: "" } })).toEqual({ spec: { storageClassName: "" } });
    expect(empty("", "ConfigMap", { data: { a: "" }, binaryData: {} })).toEqual({ data: { a: "" } });
    expect(empty("rbac.authorization.k8s.io", "ClusterRole", { rules: [] })).toEqual({ rules: [] });
    expect(empty("apps", "Deployment", { spec: { replicas: 0, minReadySeconds: 0, paused: false } })).toEqual({ spec: { replicas: 0 } });
    const applied = { spec: { hostNetwork: false } } as Obj;
    checkFields(pod, applied, "Strict", true);
    expect(applied).toEqual({ spec: { hostNetwork: false } });
  });
});
