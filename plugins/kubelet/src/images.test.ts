import { describe, expect, it } from "vitest";
import type { Pod, Secret } from "@k3s-p/plugin-api/kube";
import { pullAuths, withDefaultTag } from "./images.ts";

describe("image references", () => {
  const digest = `sha256:${"a".repeat(64)}`;
  it.each([
    ["busybox", "busybox:latest"], ["busybox:1", "busybox:1"], [`busybox@${digest}`, `busybox@${digest}`],
    ["reg.example:5000/a/b", "reg.example:5000/a/b:latest"], ["docker.io/library/x:1.2-y", "docker.io/library/x:1.2-y"],
    ["Busybox", undefined], ["a b", undefined], ["", undefined], ["foo/", undefined],
  ])("%s", (image, wanted) => expect(withDefaultTag(image)).toBe(wanted));
});

it("takes the credentials whose registry fits, the longest path first", async () => {
  const auth = (text: string): string => Buffer.from(text).toString("base64");
  const config = { auths: { "reg.example": { auth: auth("u1:p1") }, "https://reg.example/team": { username: "u2", password: "p2" }, "other.example": { auth: auth("u3:p3") } } };
  const secret = { data: { ".dockerconfigjson": auth(JSON.stringify(config)) } } as unknown as Secret;
  const pod = { metadata: { namespace: "ns" }, spec: { imagePullSecrets: [{ name: "pull" }] } } as unknown as Pod;
  const users = async (image: string): Promise<unknown[]> => (await pullAuths(pod, image, async () => secret)).map((a) => [a.username, a.password]);
  expect(await users("reg.example/team/app:1")).toEqual([["u2", "p2"], ["u1", "p1"]]);
  expect(await users("reg.example/app")).toEqual([["u1", "p1"]]);
  expect(await users("busybox")).toEqual([]);
});
