/** `npm run bench [-- kernel|api|watch|scale|full]`: prints the table of figures against the design's goals. */
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
for (const [name, run] of Object.entries(parts)) {
  if (wanted.length && !wanted.includes(name)) continue;
  process.stderr.write(`${name}\n`);
  await run();
}
print();
