/**
 * `npm run busybox-image -- FILE`: writes an image archive of Debian's static busybox, for machines without a registry.
 * Put into agent/images it is imported as docker.io/library/busybox:1.35 (with the tag latest it would be pulled each time).
 */
import { copyFileSync } from "node:fs";
import { installBusybox } from "./busybox.ts";
import { busyboxImage } from "./images.ts";

const [file] = process.argv.slice(2);
if (!file) {
  process.stderr.write("usage: npm run busybox-image -- FILE\n");
  process.exit(1);
}
installBusybox();
copyFileSync(busyboxImage({ tag: "1.35" }), file);
process.stdout.write(`${file}: docker.io/library/busybox:1.35\n`);
