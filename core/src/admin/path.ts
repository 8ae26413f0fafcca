/** Where a running server listens for `k3s-p plugin`: two servers with other folders have other sockets. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Paths } from "@k3s-p/plugin-api/slots";

const usual = "/var/lib/rancher/k3s";

export function adminSocket({ run, dataDir }: Pick<Paths, "run" | "dataDir">): string {
  const suffix = dataDir === usual ? "" : `-${createHash("sha256").update(dataDir).digest("hex").slice(0, 12)}`;
  return join(run, `k3s-p${suffix}.sock`);
}
