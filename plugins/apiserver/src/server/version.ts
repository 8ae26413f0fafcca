/** Git's own name for "no commit": clients expect a hexadecimal number even of sources without a repository. */
const NO_COMMIT = "0".repeat(40);

/** What `/version` says. */
export const versionInfo = {
  major: "1", minor: "36", emulationMajor: "1", emulationMinor: "36", minCompatibilityMajor: "1", minCompatibilityMinor: "35",
  gitVersion: "v1.36.0+k3sp1", gitCommit: NO_COMMIT, gitTreeState: "clean", buildDate: "2026-04-22T00:00:00Z",
  goVersion: "", compiler: "node", platform: `${process.platform}/${process.arch === "x64" ? "amd64" : process.arch}`,
} as const;
