/** The way from a fresh checkout to Node 26, with an npm that only writes down what it was asked for. */
import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { beforeEach, afterEach, expect, test } from "vitest";

let root: string;

const npm = `#!/bin/sh
echo "npm $1" >> "$ROOT/log"
[ "$1" = ci ] || exit 0
sleep 0.3
mkdir -p node_modules/node/bin
printf '#!/bin/sh\\necho "$(basename "$1")" >> "$ROOT/log"\\n' > node_modules/node/bin/node
chmod 755 node_modules/node/bin/node
[ ! -e broken ]
`;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "k3s-p-bootstrap-"));
  for (const folder of ["core", "plugins/a/build", "programs"]) mkdirSync(join(root, folder), { recursive: true });
  cpSync(import.meta.dirname, join(root, "core/bin"), { recursive: true });
  writeFileSync(join(root, "package.json"), '{ "type": "module" }');
  writeFileSync(join(root, "package-lock.json"), "{}");
  writeFileSync(join(root, "plugins/a/build/make.ts"), "");
  writeFileSync(join(root, "programs/npm"), npm, { mode: 0o755 });
});
afterEach(() => rmSync(root, { recursive: true }));

const start = () => new Promise<{ readonly code: number | null; readonly err: string }>((resolve) => {
  const env = { ...process.env, ROOT: root, PATH: `${join(root, "programs")}:${dirname(process.execPath)}:/usr/bin:/bin` };
  const child = spawn(process.execPath, [join(root, "core/bin/k3s-p.js"), "version"], { env, stdio: ["ignore", "ignore", "pipe"] });
  let err = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  child.on("close", (code) => resolve({ code, err }));
});
const log = () => readFileSync(join(root, "log"), "utf8").trim().split("\n");

test("installs once when two commands start on a fresh checkout, and not again", async () => {
  const both = await Promise.all([start(), start()]);
  expect(both.map(({ code }) => code)).toEqual([0, 0]);
  expect(both.flatMap(({ err }) => err.match(/installing dependencies/g) ?? [])).toHaveLength(1);
  await start();
  expect(log()).toEqual(["npm ci", "npm run", "warm.ts", "main.ts", "main.ts", "main.ts"]);
});

test("builds in a checkout whose node_modules is a copy of another one's", async () => {
  await start();
  for (const file of readdirSync(root).filter((name) => name.startsWith(".k3s-p"))) rmSync(join(root, file));
  await start();
  expect(log()).toEqual(["npm ci", "npm run", "warm.ts", "main.ts", "npm run", "warm.ts", "main.ts"]);
});

test("ends with the way out when the installation fails, and tries again at the next start", async () => {
  writeFileSync(join(root, "broken"), "");
  const { code, err } = await start();
  expect([code, err]).toEqual([1, expect.stringContaining("k3s-p: npm ci --no-fund failed with exit code 1\nk3s-p: fix: check that the npm registry is reached")]);
  rmSync(join(root, "broken"));
  expect((await start()).code).toBe(0);
});
