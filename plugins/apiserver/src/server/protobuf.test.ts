import { describe, expect, test } from "vitest";
import { decodeProtobuf } from "./protobuf.ts";

/** The smallest encoder that the tests need: strings, bytes, messages and varints by field number. */
type Part = readonly [number, string | number | Buffer | readonly Part[]];
function encode(parts: readonly Part[]): Buffer {
  return Buffer.concat(parts.map(([field, value]) => {
    if (typeof value === "number") return Buffer.concat([varint(field << 3), varint(value)]);
    const bytes = typeof value === "string" ? Buffer.from(value) : Buffer.isBuffer(value) ? value : encode(value);
    return Buffer.concat([varint((field << 3) | 2), varint(bytes.length), bytes]);
  }));
}
function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}
const message = (apiVersion: string, kind: string, parts: readonly Part[]): Buffer =>
  Buffer.concat([Buffer.from("k8s\0"), encode([[1, [[1, apiVersion], [2, kind]]], [2, parts], [3, ""], [4, ""]])]);

describe("protobuf bodies", () => {
  test("of a config map, as kubectl writes it", () => {
    const meta: Part = [1, [[1, "a"], [2, ""], [3, ""], [4, ""], [5, ""], [6, ""], [7, 0], [8, ""]]];
    const body = message("v1", "ConfigMap", [meta, [2, [[1, "x"], [2, "1"]]], [2, [[1, "y"], [2, "ä"]]]]);
    expect(decodeProtobuf(body)).toEqual({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a" }, data: { x: "1", y: "ä" } });
  });

  test("of a secret keep bytes as base64", () => {
    const body = message("v1", "Secret", [[1, [[1, "s"]]], [2, [[1, "k"], [2, Buffer.from([0, 255])]]], [3, "Opaque"]]);
    expect(decodeProtobuf(body)).toMatchObject({ data: { k: "AP8=" }, type: "Opaque" });
  });

  test("of a deployment with quantities, ports, embedded volume sources and times", () => {
    const container: Part = [2, [
      [1, "c"], [2, "nginx"], [6, [[1, "http"], [3, 80], [4, "TCP"]]],
      [8, [[1, [[1, "cpu"], [2, [[1, "100m"]]]]]]],
    ]];
    const volume: Part = [1, [[1, "v"], [2, [[2, []]]]]];
    const body = message("apps/v1", "Deployment", [
      [1, [[1, "d"], [8, [[1, 1_777_629_600]]]]],
      [2, [[1, 0], [2, [[1, [[1, "app"], [2, "d"]]]]], [3, [[2, [volume, container]]]], [4, [[1, "RollingUpdate"], [2, [[1, [[1, 1], [2, 0], [3, "25%"]]], [2, [[1, 0], [2, 2], [3, ""]]]]]]]]],
    ]);
    expect(decodeProtobuf(body)).toEqual({
      apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "d", creationTimestamp: "2026-05-01T10:00:00Z" },
      spec: {
        replicas: 0, selector: { matchLabels: { app: "d" } },
        template: {
          spec: {
            volumes: [{ name: "v", emptyDir: {} }],
            containers: [{ name: "c", image: "nginx", ports: [{ name: "http", containerPort: 80, protocol: "TCP" }], resources: { limits: { cpu: "100m" } } }],
          },
        },
        strategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: "25%", maxSurge: 2 } },
      },
    });
  });

  test("of DeleteOptions keep an explicit zero", () => {
    const body = message("v1", "DeleteOptions", [[1, 0], [4, "Background"]]);
    expect(decodeProtobuf(body)).toEqual({ apiVersion: "v1", kind: "DeleteOptions", gracePeriodSeconds: 0, propagationPolicy: "Background" });
  });

  const damaged: readonly [string, Buffer, number, string][] = [
    ["no envelope", Buffer.from("{}"), 400, "expected prefix [107 56 115 0]"],
    ["a cut envelope", message("v1", "ConfigMap", [[1, [[1, "a"]]]]).subarray(0, 20), 400, "unable to decode protobuf"],
    ["an unknown kind", message("example.com/v1", "Thing", []), 415, "no protobuf form of example.com/v1 Thing"],
  ];
  test.each(damaged)("with %s are refused", (_, body, code, text) => {
    expect(() => decodeProtobuf(body)).toThrow(expect.objectContaining({ code, message: expect.stringContaining(text) }));
  });
});
