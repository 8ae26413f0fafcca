/** `npm run bench [-- kernel|api|watch|scale|full]`: prints the table of figures against the design's goals. */
import { openSync, writeSync } from "node:fs";
import { constants, setPriority } from "node:os";
import { benchApi } from "./api.ts";
import { benchFull } from "./full.ts";
import { benchKernel } from "./kernel.ts";
import { print } from "./report.ts";
import { benchScale } from "./scale.ts";
import { benchWatch } from "./watch.ts";

const parts: Readonly<Record<string, () => Promise<void>>> = { kernel: benchKernel, api: benchApi, watch: benchWatch, scale: benchScale, full: benchFull };
const wanted = process.argv.slice(2);
for (const name of wanted) {
  if (parts[name]) continue;
  process.stderr.write(`unknown part "${name}"; parts: ${Object.keys(parts).join(", ")}\n`);
  process.exit(1);
}
for (const [what, prepare] of Object.entries({ "runs before other programs": goFirst, "keeps the processors awake": stayAwake })) {
  try {
    prepare();
  } catch (error) {
    process.stderr.write(`the figures may be worse than they need be, as nothing ${what}: ${(error as Error).message}\n`);
  }
}
for (const [name, run] of Object.entries(parts)) {
  if (wanted.length && !wanted.includes(name)) continue;
  process.stderr.write(`${name}\n`);
  await run();
}
print();

/** What else runs on the machine is not what is measured; the processes under measurement inherit it. */
function goFirst(): void {
  setPriority(constants.priority.PRIORITY_HIGHEST);
}

/**
 * A processor that sleeps between two requests, above all a virtual one, wakes more slowly than a request is answered. As
 * long as this file is open with a latency of 0 none sleeps (Documentation/power/pm_qos_interface.rst).
 */
function stayAwake(): void {
  writeSync(openSync("/dev/cpu_dma_latency", "r+"), new Int32Array([0]));
}
