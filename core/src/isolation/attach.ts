/** `--attach NAME`: the plugin's process waits for a debugger before it loads the plugin. */
import { k3spError, type Logger } from "@k3s-p/plugin-api";
import type { Manifest } from "../kernel/manifest.ts";

/** On the loopback alone, at a port that is free. */
export const attachFlags: readonly string[] = ["--allow-inspector", "--inspect-wait=127.0.0.1:0"];

/** Says in the plugin's log where Node waits, instead of Node's own lines. */
export const debuggerHint = (log: Logger) => (line: string): boolean => {
  const address = /^Debugger listening on ws:\/\/([^/]+)\//.exec(line)?.[1];
  if (address) log.info(`waits for a debugger: node inspect ${address}, or chrome://inspect with that address; the start has no time limit`);
  return address !== undefined || line.startsWith("For help, see: https://nodejs.org/");
};

const elsewhere: Readonly<Record<Exclude<Manifest["isolation"], "process">, string>> = {
  inline: "start the server itself with NODE_OPTIONS=--inspect",
  exec: "attach a debugger for its language to the process that k3s-p plugin list names",
  rpc: "attach a debugger for its language to the process that k3s-p plugin list names",
};

export function checkAttach(names: readonly string[], plugins: readonly Manifest[]): void {
  for (const name of names) {
    const found = plugins.find((m) => m.id === name);
    const processes = plugins.filter((m) => m.isolation === "process").map((m) => m.id);
    if (!found) {
      throw k3spError("K3SP_FLAG_INVALID", { message: `--attach ${name}: no plugin of that name is loaded`, fix: processes.length ? `name one of ${processes.join(", ")}` : "load one with --plugin PATH" });
    }
    if (found.isolation === "process") continue;
    throw k3spError("K3SP_FLAG_INVALID", { message: `--attach ${name}: it does not run in a Node process of its own, but in the mode "${found.isolation}"`, fix: elsewhere[found.isolation] });
  }
}
