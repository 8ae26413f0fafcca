/** `npm run bench [-- kernel|api|watch|scale|full]`: prints the table of figures against the design's goals. */
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
try {
  // What else runs on the machine is not what is measured; the processes under measurement inherit it.
  setPriority(constants.priority.PRIORITY_HIGHEST);
} catch {
  process.stderr.write("other programs may disturb the figures: only root can run before them\n");
}
for (const [name, run] of Object.entries(parts)) {
  if (wanted.length && !wanted.includes(name)) continue;
  process.stderr.write(`${name}\n`);
  await run();
}
print();
