/** The version that `k3s-p --version` prints, and the Kubernetes version that it serves. */
import manifest from "../package.json" with { type: "json" };

export const version: string = manifest.version;
export const kubernetesVersion = "v1.36.0+k3sp1";
