import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { watchImages, type ImageImport } from "./images.ts";

test("a folder whose import cannot be remembered is logged, and its images count all the same", async () => {
  const dir = mkdtempSync(join(tmpdir(), "images-"));
  const logged: string[] = [];
  const log = { ...silentLogger, error: (_: unknown, message?: string) => void logged.push(message ?? "") };
  writeFileSync(join(dir, "list.txt"), "example.com/a:1\n");
  const pinned = new Set<string>();
  const options = { root: join(dir, "missing"), log } as unknown as ImageImport;
  const folder = watchImages(options, dir, pinned, async () => undefined);
  try {
    await folder.imported;
    expect([...pinned]).toEqual(["example.com/a:1"]);
    expect(logged).toEqual([`${dir} was not imported`]);
  } finally {
    folder.stop();
    rmSync(dir, { recursive: true });
  }
});
