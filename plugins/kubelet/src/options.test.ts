import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import args from "../arguments.json" with { type: "json" };
import { flags, kubeletOptions, type KubeletConfig } from "./options.ts";

const schema = JSON.parse(readFileSync(new URL("../config.schema.json", import.meta.url), "utf8"));
const defaults = Object.fromEntries(Object.entries(schema.properties as Record<string, { default: unknown }>).map(([k, v]) => [k, v.default])) as unknown as KubeletConfig;

it("has K3s's defaults", () => {
  expect(kubeletOptions(defaults)).toMatchObject({ port: 10250, maxPods: 110, eviction: { transition: 300_000 }, logMaxBytes: 10 * 2 ** 20, containerLogMaxFiles: 5, healthzPort: 10248, healthzHost: "127.0.0.1" });
});

it("lets kubelet-arg override, with or without dashes", () => {
  const kubeletArg = ["port=10350", "--max-pods=5", "node-labels=a=b,c=d", "register-with-taints=k=v:NoSchedule", "eviction-hard=imagefs.available<10%,nodefs.available<10%", "container-log-max-size=1Mi", "healthz-port=0", "healthz-bind-address=::1"];
  expect(kubeletOptions({ ...defaults, kubeletArg })).toMatchObject({
    port: 10350, maxPods: 5, labels: { a: "b", c: "d" }, taints: ["k=v:NoSchedule"], eviction: { thresholds: [{ signal: "imagefs.available", value: { percent: 10 } }, { signal: "nodefs.available", value: { percent: 10 } }] }, logMaxBytes: 2 ** 20, healthzPort: 0, healthzHost: "::1",
  });
});

it("knows the flags that it says it reads, and lets the others of upstream be", () => {
  expect(Object.keys(flags).sort()).toEqual(args.read);
  expect(kubeletOptions({ ...defaults, kubeletArg: ["v=2"] })).toEqual(kubeletOptions(defaults));
});

it.each(["max-pods=many", "eviction-hard=memory.available<much", "eviction-soft=memory.available<1Gi", "container-log-max-size=big", "healthz-bind-address=localhost"])("refuses %s", (arg) => {
  expect(() => kubeletOptions({ ...defaults, kubeletArg: [arg] })).toThrow(expect.objectContaining({ code: "K3SP_FLAG_INVALID" }));
});
