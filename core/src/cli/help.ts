/** `k3s-p help [COMMAND | CODE]` */
import { errorCatalogue, k3spError, type ErrorCode } from "@k3s-p/plugin-api";
import { flags } from "../config/flags.ts";
import { defaultPlugins } from "../defaults.ts";
import { didYouMean } from "../kernel/manifest.ts";
import { commands } from "./commands.ts";

export async function run(argv: readonly string[]): Promise<number> {
  const [topic] = argv;
  if (topic === undefined) process.stdout.write(overview());
  else if (topic.startsWith("K3SP_")) process.stdout.write(errorPage(topic));
  else process.stdout.write(await commandPage(topic));
  return 0;
}

export const usages = (): readonly string[] => ["help [COMMAND|CODE]"];

async function commandPage(name: string): Promise<string> {
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!command) throw k3spError("K3SP_COMMAND_UNKNOWN", { message: `unknown command "${name}"${didYouMean(name, Object.keys(commands))}` });
  const lines = (await (await command.load()).usages()).map((usage, i) => `${i ? "      " : "usage:"} k3s-p ${usage}`);
  return [...lines, "", command.summary, ...(name === "server" ? ["", ...serverFlags()] : []), ""].join("\n");
}

function overview(): string {
  const lines = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(16)} ${summary}`);
  return ["k3s-p: Kubernetes as a plugin server", "", "usage: k3s-p COMMAND [flags]", "", ...lines, "", "k3s-p help COMMAND says how a command is used; k3s-p help server lists the flags of the server.", ""].join("\n");
}

function serverFlags(): readonly string[] {
  const rows = flags.filter((f) => !f.hidden).map((f) => {
    const name = `--${f.name}${f.short ? `, -${f.short}` : ""}`;
    const notes = [f.default && `default ${f.default}`, f.env && `env ${f.env}`].filter(Boolean).join(", ");
    return `  ${name.padEnd(34)} ${f.help}${notes ? ` (${notes})` : ""}`;
  });
  return [...rows, "", `plugins (each may be given to --disable): ${defaultPlugins.join(", ")}`];
}

function errorPage(code: string): string {
  const entry = errorCatalogue[code as ErrorCode] as { title: string; fix: string } | undefined;
  if (!entry) throw k3spError("K3SP_COMMAND_UNKNOWN", { message: `no error has the code ${code}${didYouMean(code, Object.keys(errorCatalogue))}` });
  return `${code}  ${entry.title}\n  fix: ${entry.fix}\n`;
}
