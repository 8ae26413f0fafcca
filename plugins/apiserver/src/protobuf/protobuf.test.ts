import { describe, expect, test } from "vitest";
import { decodeProtobuf, encodeProtobuf, encodeWatchFrame, hasProtobuf } from "./index.ts";

const meta = { name: "a", namespace: "default", uid: "u", resourceVersion: "5", creationTimestamp: "2026-01-02T03:04:05Z", labels: { a: "b", "c.d/e": "" } };

const objects = {
  pod: {
    apiVersion: "v1", kind: "Pod", metadata: { ...meta, deletionGracePeriodSeconds: 0, ownerReferences: [{ apiVersion: "v1", kind: "X", name: "n", uid: "1", controller: true }] },
    spec: {
      containers: [{ name: "c", image: "i", resources: { requests: { cpu: "100m" } }, ports: [{ containerPort: 80 }], env: [{ name: "A" }, { name: "B", valueFrom: { secretKeyRef: { name: "s", key: "k", optional: false } } }], livenessProbe: { httpGet: { path: "/", port: "http" }, periodSeconds: 3 }, readinessProbe: { tcpSocket: { port: 80 } }, securityContext: { runAsUser: 0, privileged: false } }],
      ephemeralContainers: [{ name: "e", image: "i", resources: {}, targetContainerName: "c" }],
      volumes: [{ name: "v", emptyDir: {} }, { name: "w", configMap: { name: "cm", defaultMode: 420 } }, { name: "p", projected: { sources: [{ secret: { name: "s" } }] } }],
      terminationGracePeriodSeconds: 0, nodeSelector: { x: "y" }, tolerations: [{ operator: "Exists", tolerationSeconds: 300 }],
    },
    status: { phase: "Running", startTime: "2026-01-02T03:04:06Z", containerStatuses: [{ name: "c", ready: false, restartCount: 0, image: "i", imageID: "", started: false, state: { terminated: { exitCode: -1, finishedAt: "2026-01-02T03:04:06Z" } } }] },
  },
  deployment: { apiVersion: "apps/v1", kind: "Deployment", metadata: meta, spec: { replicas: 0, selector: { matchLabels: { a: "b" } }, template: { metadata: {}, spec: { containers: [{ name: "c", resources: {} }] } }, strategy: { rollingUpdate: { maxSurge: "25%", maxUnavailable: 1 } } } },
  secret: { apiVersion: "v1", kind: "Secret", metadata: meta, data: { a: "AAECAw==", empty: "" }, type: "Opaque" },
  lease: { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: meta, spec: { holderIdentity: "h", renewTime: "2026-01-02T03:04:05.123456Z" } },
  status: { apiVersion: "v1", kind: "Status", metadata: {}, status: "Failure", message: "no", reason: "NotFound", details: { name: "x", causes: [{ field: "f" }] }, code: 404 },
  review: { apiVersion: "authorization.k8s.io/v1", kind: "SubjectAccessReview", metadata: {}, spec: { user: "u", extra: { k: ["a", "b"] } }, status: { allowed: false } },
  crd: { apiVersion: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition", metadata: meta, spec: { group: "g", names: { plural: "p", kind: "K" }, scope: "Namespaced", versions: [{ name: "v1", served: true, storage: false, schema: { openAPIV3Schema: { type: "object", properties: { a: { type: "integer", minimum: 0, maximum: 1.5, default: { x: 1 }, items: { type: "string" }, additionalProperties: false, "x-kubernetes-preserve-unknown-fields": true } } } } }] } },
};

describe("protobuf", () => {
  test.each(Object.entries(objects))("%s survives a round trip", (_, object) => {
    expect(decodeProtobuf(encodeProtobuf(object))).toEqual(object);
  });

  test("writes the bytes that upstream writes for a small ConfigMap", () => {
    const bytes = encodeProtobuf({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a" }, data: { k: "v" } });
    expect(bytes.toString("hex")).toBe("6b3873000a0f0a0276311209436f6e6669674d6170120d0a030a016112060a016b120176");
  });

  test("meta kinds are found under the group of the request", () => {
    expect(hasProtobuf("apps/v1", "DeleteOptions")).toBe(true);
    expect(hasProtobuf("example.com/v1", "Thing")).toBe(false);
  });

  test("a zero time and empty strings of value fields are left out", () => {
    const bytes = Buffer.concat([Buffer.from("k8s\0"), Buffer.from("0a0f0a0276311209436f6e6669674d617012090a070a016112004200", "hex")]);
    expect(decodeProtobuf(bytes)).toEqual({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a" } });
  });

  test("a watch frame carries its length, the type and the object", () => {
    const frame = encodeWatchFrame("ADDED", objects.lease);
    expect(frame.readUInt32BE(0)).toBe(frame.length - 4);
    expect(frame.subarray(4, 11).toString("latin1")).toBe("\n\u0005ADDED");
  });

  test.each([
    ["no magic number", "00112233"],
    ["a truncated body", "6b3873000a0f0a02"],
    ["a huge length", "6b3873000affffffff0f"],
    ["an endless varint", "6b387300ffffffffffffffffffffffff"],
    ["a kind without a message", "6b3873000a0c0a0276311206426f676f7573"],
  ])("refuses %s with 400", (_, hex) => {
    expect(() => decodeProtobuf(Buffer.from(hex, "hex"))).toThrow(expect.objectContaining({ code: 400 }));
  });
});
