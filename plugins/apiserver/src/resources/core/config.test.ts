import { describe, expect, it } from "vitest";
import { created, rowOf, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const secrets = rowOf("", "secrets");
const base64 = (text: string): string => Buffer.from(text).toString("base64");
const secret = (type: string, data: Readonly<Record<string, string>>): Obj =>
  ({ metadata: { name: "s" }, type, data: Object.fromEntries(Object.entries(data).map(([key, value]) => [key, base64(value)])) });

describe("a Secret", () => {
  const config = "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\":";
  it.each<[string, Record<string, string>, ...string[]]>([
    ["kubernetes.io/ssh-auth", { "ssh-privatekey": "" }, "data[ssh-privatekey]: Required value"],
    ["kubernetes.io/ssh-auth", { "ssh-privatekey": "x" }],
    ["kubernetes.io/tls", {}, "data[tls.crt]: Required value", "data[tls.key]: Required value"],
    ["kubernetes.io/tls", { "tls.crt": "", "tls.key": "" }],
    ["kubernetes.io/basic-auth", {}, "data[username]: Required value", "data[password]: Required value"],
    ["kubernetes.io/basic-auth", { password: "" }],
    ["kubernetes.io/dockerconfigjson", {}, "data[.dockerconfigjson]: Required value"],
    ["kubernetes.io/dockerconfigjson", { ".dockerconfigjson": "" }, `${config} unexpected end of JSON input`],
    ["kubernetes.io/dockerconfigjson", { ".dockerconfigjson": "hello" }, `${config} invalid character 'h' looking for beginning of value`],
    ["kubernetes.io/dockerconfigjson", { ".dockerconfigjson": "[]" }, `${config} json: cannot unmarshal array into Go value of type map[string]interface {}`],
    ["kubernetes.io/dockerconfigjson", { ".dockerconfigjson": "null" }],
    ["kubernetes.io/dockercfg", { ".dockercfg": "{}" }],
    ["example.com/own", {}],
  ])("of type %s with %j", (type, data, ...errors) => expect(created(secrets, secret(type, data)).errors).toEqual(errors));
});

describe("a ServiceAccount", () => {
  const accounts = rowOf("", "serviceaccounts");

  it("knows of its secrets the names alone", () => {
    const named = { name: "s" };
    const { object } = created(accounts, { metadata: { name: "a" }, secrets: [{ ...named, namespace: "other", uid: "1", kind: "Secret" }] });
    expect(object.secrets).toEqual([named]);
    expect(updated(accounts, object, (o) => (o.secrets = [{ ...named, fieldPath: "x" }])).object.secrets).toEqual([named]);
  });
});
