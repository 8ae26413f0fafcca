import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { busyboxImage, fullReference, tar } from "./images.ts";

const dirs: string[] = [];
afterEach(async () => {
  for (const dir of dirs.splice(0)) await rm(dir, { recursive: true, force: true });
});
async function folder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "images-"));
  dirs.push(dir);
  return dir;
}

test.each([
  ["busybox", "docker.io/library/busybox:latest"], ["busybox:1", "docker.io/library/busybox:1"], ["me/app:2", "docker.io/me/app:2"],
  ["localhost/a", "localhost/a:latest"], ["reg.example:5000/a/b:c", "reg.example:5000/a/b:c"],
])("%s is %s", (short, full) => {
  expect(fullReference(short)).toBe(full);
});

test("the archive is read by tar(1), with links and modes", async () => {
  const dir = await folder();
  const { writeFileSync } = await import("node:fs");
  writeFileSync(join(dir, "x.tar"), tar([{ path: "d/" }, { path: "d/f", data: "text", mode: 0o755 }, { path: "d/l", link: "f" }, { path: "t/", mode: 0o1777 }]));
  const listing = execFileSync("tar", ["-tvf", join(dir, "x.tar"), "--utc"], { encoding: "utf8" }).trim().split("\n").map((line) => line.replace(/\s+/g, " "));
  expect(listing).toEqual([
    "drwxr-xr-x root/root 0 1970-01-01 00:00 d/", "-rwxr-xr-x root/root 4 1970-01-01 00:00 d/f",
    "lrwxrwxrwx root/root 0 1970-01-01 00:00 d/l -> f", "drwxrwxrwt root/root 0 1970-01-01 00:00 t/",
  ]);
});

test.skipIf(!existsSync("/bin/busybox"))("busybox: a root that runs, several references, the same bytes each time", async () => {
  const dir = await folder();
  const path = busyboxImage({ name: "example.com/web", tag: "1", references: ["busybox"], dir });
  expect(path).toBe(join(dir, "example.com-web-1.tar"));
  const bytes = await readFile(path);
  expect((await readFile(busyboxImage({ name: "example.com/web", tag: "1", references: ["busybox"], dir }))).equals(bytes)).toBe(true);
  execFileSync("tar", ["-xf", path, "-C", dir]);
  const [manifest] = JSON.parse(await readFile(join(dir, "manifest.json"), "utf8"));
  expect(manifest.RepoTags).toEqual(["example.com/web:1", "docker.io/library/busybox:latest"]);
  expect(JSON.parse(await readFile(join(dir, manifest.Config), "utf8")).config.Cmd).toEqual(["sh"]);
  execFileSync("mkdir", [join(dir, "root")]);
  execFileSync("tar", ["-xf", join(dir, manifest.Layers[0]), "-C", join(dir, "root")]);
  expect(execFileSync(join(dir, "root/bin/echo"), ["works"], { encoding: "utf8" })).toBe("works\n");
  expect(await readFile(join(dir, "root/www/index.html"), "utf8")).toBe("hello from busybox\n");
});
