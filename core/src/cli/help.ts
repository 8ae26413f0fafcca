/** `k3s-p help [COMMAND | CODE]` */
import { errorCatalogue, k3spError, type ErrorCode, type Role } from "@k3s-p/plugin-api";
import { flagsOf } from "../config/flags.ts";
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
  return [...lines, "", command.summary, ...(name === "server" || name === "agent" ? ["", ...flagRows(name), ...notes[name]] : []), ""].join("\n");
}

function overview(): string {
  const lines = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(16)} ${summary}`);
  return ["k3s-p: Kubernetes as a plugin server", "", "usage: k3s-p COMMAND [flags]", "", ...lines, "", "k3s-p help COMMAND says how a command is used; k3s-p help server and k3s-p help agent list their flags.", ""].join("\n");
}

function flagRows(role: Role): readonly string[] {
  return flagsOf(role).filter((f) => !f.hidden).map((f) => {
    const name = `--${f.name}${f.short ? `, -${f.short}` : ""}`;
    const notes = [f.default && `default ${f.default}`, f.env && `env ${f.env}`].filter(Boolean).join(", ");
    return `  ${name.padEnd(34)} ${f.help}${notes ? ` (${notes})` : ""}`;
  });
}

const notes: Readonly<Record<Role, readonly string[]>> = {
  server: ["", `plugins (each may be given to --disable): ${defaultPlugins.join(", ")}`],
  agent: ["", "what is the same on every node, as --cluster-cidr and --flannel-backend, agents take over from their server"],
};

function errorPage(code: string): string {
  const entry = errorCatalogue[code as ErrorCode] as { title: string; fix: string } | undefined;
  if (!entry) throw k3spError("K3SP_COMMAND_UNKNOWN", { message: `no error has the code ${code}${didYouMean(code, Object.keys(errorCatalogue))}` });
  return `${code}  ${entry.title}\n  fix: ${entry.fix}\n`;
}
