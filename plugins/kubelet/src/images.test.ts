import { describe, expect, it } from "vitest";
import { withDefaultTag } from "./images.ts";

describe("image references", () => {
  const digest = `sha256:${"a".repeat(64)}`;
  it.each([
    ["busybox", "busybox:latest"], ["busybox:1", "busybox:1"], [`busybox@${digest}`, `busybox@${digest}`],
    ["reg.example:5000/a/b", "reg.example:5000/a/b:latest"], ["docker.io/library/x:1.2-y", "docker.io/library/x:1.2-y"],
    ["Busybox", undefined], ["a b", undefined], ["", undefined], ["foo/", undefined],
  ])("%s", (image, wanted) => expect(withDefaultTag(image)).toBe(wanted));
});
