/** `k3s-p --version` */
import { kubernetesVersion, version } from "../version.ts";

export async function run(): Promise<number> {
  process.stdout.write(`k3s-p version ${version} (kubernetes ${kubernetesVersion}, node ${process.version})\n`);
  return 0;
}
