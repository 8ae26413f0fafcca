/** Entry of the command line: finds the command, prints errors, sets the exit code. */
import { formatError, isK3spError, k3spError } from "@k3s-p/plugin-api";
import { didYouMean } from "../kernel/manifest.ts";
import { commands } from "./commands.ts";

const aliases: Readonly<Record<string, string>> = { "--help": "help", "-h": "help" };
const isHelp = (arg: string): boolean => arg === "--help" || arg === "-h";

export async function main(argv: readonly string[]): Promise<number> {
  const [first = "help", ...rest] = argv;
  try {
    if (["--version", "-v", "version"].includes(first)) return await (await import("./version.ts")).run();
    const name = aliases[first] ?? first;
    const command = commands[name];
    if (!command) {
      throw k3spError("K3SP_COMMAND_UNKNOWN", { message: `unknown command "${first}"${didYouMean(first, Object.keys(commands))}` });
    }
    if (!command.passThrough && rest.some(isHelp)) return await (await import("./help.ts")).run([name]);
    return await (await command.load()).run(rest);
  } catch (error) {
    process.stderr.write(`${isK3spError(error) ? formatError(error) : await unexpected(error)}\n`);
    return 1;
  }
}

const unexpected = async (error: unknown): Promise<string> => (await import("../server.ts")).describeError(error);

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
