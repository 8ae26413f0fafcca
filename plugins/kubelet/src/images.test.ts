import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Pod, Secret } from "@k3s-p/plugin-api/kube";
import type { Runtime } from "@k3s-p/plugin-api/slots";
import { systemClock } from "./clock.ts";
import { kubeletFigures } from "./figures.ts";
import { images, withDefaultTag } from "./images.ts";
import { pullRecords } from "./pull-records.ts";

describe("image references", () => {
  const digest = `sha256:${"a".repeat(64)}`;
  it.each([
    ["busybox", "busybox:latest"], ["busybox:1", "busybox:1"], [`busybox@${digest}`, `busybox@${digest}`],
    ["reg.example:5000/a/b", "reg.example:5000/a/b:latest"], ["docker.io/library/x:1.2-y", "docker.io/library/x:1.2-y"],
    ["Busybox", undefined], ["a b", undefined], ["", undefined], ["foo/", undefined],
  ])("%s", (image, wanted) => expect(withDefaultTag(image)).toBe(wanted));
});

describe("a pull with the credentials of secrets", () => {
  const auths = { "reg.example": { username: "a", password: "" }, "reg.example/team": { username: "b", password: "" } };
  const secret = { type: "kubernetes.io/dockerconfigjson", data: { ".dockerconfigjson": Buffer.from(JSON.stringify({ auths })).toString("base64") } } as unknown as Secret;
  const pod = { metadata: { name: "p", namespace: "ns", uid: "u" }, spec: { imagePullSecrets: [{ name: "pull" }] } } as unknown as Pod;
  const failure = (message: string, code?: number) => Object.assign(new Error(message), { code });

  /** `answers` by user: an error, or nothing for a pull that works. */
  const records = pullRecords(mkdtempSync(join(tmpdir(), "records-")), { imagePullCredentialsVerificationPolicy: "NeverVerifyPreloadedImages", preloadedImagesVerificationAllowlist: [] }, Date.now);

  async function pull(answers: Record<string, Error | undefined>) {
    const asked: string[] = [];
    const events: string[] = [];
    let pulled = false;
    const runtime = {
      imageStatus: async () => (pulled ? { id: "i", repoTags: [], repoDigests: [], size: 1 } : undefined),
      pullImage: async (_: string, auth: { username: string }) => {
        asked.push(auth.username);
        const error = answers[auth.username];
        if (error) throw error;
        pulled = true;
        return "i";
      },
    } as unknown as Runtime;
    const record = (_: unknown, type: string, reason: string, message: string) => void events.push(`${type} ${reason} ${message}`);
    const all = images({ runtime, figures: kubeletFigures(), records, clock: systemClock(), events: { record } as never, secret: async () => secret, pulled: () => undefined });
    const result = await all.ensure(pod, { spec: { name: "c", image: "reg.example/team/app:1" }, fieldPath: "spec.containers{c}" } as never, {} as never);
    return { result, asked, events };
  }

  it("tries them one after the other, the one for the longest path first", async () => {
    expect(await pull({ b: failure("401 Unauthorized", 2) })).toMatchObject({ result: { ok: true }, asked: ["b", "a"] });
    expect((await pull({})).asked).toEqual(["b"]);
  });

  it("tells each failure once, with the runtime's code unless it is Unknown", async () => {
    const { result, events } = await pull({ b: failure("401 Unauthorized", 2), a: failure("app: not found", 5) });
    const message = "[401 Unauthorized, rpc error: code = NotFound desc = app: not found]";
    expect(result).toMatchObject({ ok: false, reason: "ErrImagePull", message });
    expect(events).toContain(`Warning Failed Failed to pull image "reg.example/team/app:1": ${message}`);
    expect((await pull({ b: failure("no route"), a: failure("no route") })).result).toMatchObject({ message: "no route" });
  });
});
