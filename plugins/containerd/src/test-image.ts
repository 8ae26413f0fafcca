/** For tests: an image made from one static busybox program, as `docker save` would write it. */
import { createHash } from "node:crypto";
import { tar } from "./tar.ts";

export function busyboxArchive(busybox: Uint8Array, name: string): Buffer {
  const applets = ["sh", "sleep", "echo", "hostname", "cat", "httpd", "nc", "wget", "env"];
  const script = (applet: string) => `#!/bin/busybox sh\nexec /bin/busybox ${applet} "$@"\n`;
  const layer = tar([
    { path: "bin/busybox", data: busybox, mode: 0o755 },
    ...applets.map((applet) => ({ path: `bin/${applet}`, data: script(applet), mode: 0o755 })),
    { path: "etc/passwd", data: "root:x:0:0:root:/:/bin/sh\n" },
  ]);
  const config = JSON.stringify({
    architecture: process.arch === "arm64" ? "arm64" : "amd64", os: "linux",
    config: { Env: ["PATH=/bin"], Cmd: ["sh"] },
    rootfs: { type: "layers", diff_ids: [`sha256:${createHash("sha256").update(layer).digest("hex")}`] },
  });
  return tar([
    { path: "config.json", data: config },
    { path: "layer.tar", data: layer },
    { path: "manifest.json", data: JSON.stringify([{ Config: "config.json", RepoTags: [name], Layers: ["layer.tar"] }]) },
  ]);
}
