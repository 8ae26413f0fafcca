/** Entry of the command line: finds the command, prints errors, sets the exit code. */
import { formatError, isK3spError, k3spError } from "@k3s-p/plugin-api";
import { didYouMean } from "../kernel/manifest.ts";
import { commands } from "./commands.ts";

const aliases: Readonly<Record<string, string>> = { "--help": "help", "-h": "help" };
/** What does their work here. */
const commandsOfK3s: Readonly<Record<string, string>> = {
  "etcd-snapshot": "use k3s-p datastore dump FILE, which works while the server runs, and k3s-p datastore restore FILE",
};
const isHelp = (arg: string): boolean => arg === "--help" || arg === "-h";

export async function main(argv: readonly string[]): Promise<number> {
  const [first = "help", ...rest] = withoutGlobals(argv);
  try {
    if (["--version", "-v", "version"].includes(first)) return await (await import("./version.ts")).run();
    const name = aliases[first] ?? first;
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
    if (!command) {
      const instead = Object.hasOwn(commandsOfK3s, name) ? commandsOfK3s[name] : undefined;
      throw k3spError("K3SP_COMMAND_UNKNOWN", instead
        ? { message: `there is no command "${first}" as in K3s`, fix: instead }
        : { message: `unknown command "${first}"${didYouMean(first, Object.keys(commands))}` });
    }
    if (!command.passThrough && rest.some(isHelp)) return await (await import("./help.ts")).run([name]);
    return await (await command.load()).run(rest);
  } catch (error) {
    process.stderr.write(`${isK3spError(error) ? formatError(error) : await unexpected(error)}\n`);
    return 1;
  }
}

/** As K3s: `--debug` and `--data-dir` may stand before the command, and count as if the environment had them. */
function withoutGlobals(argv: readonly string[]): readonly string[] {
  const [first = "", second] = argv;
  if (first === "--debug") process.env.K3S_DEBUG = "true";
  else if (/^(--data-dir|-d)$/.test(first) && second !== undefined) process.env.K3S_DATA_DIR = second;
  else if (first.startsWith("--data-dir=")) process.env.K3S_DATA_DIR = first.slice("--data-dir=".length);
  else return argv;
  return withoutGlobals(argv.slice(/^(--data-dir|-d)$/.test(first) ? 2 : 1));
}

const unexpected = async (error: unknown): Promise<string> => (await import("../server.ts")).describeError(error);

/** Whoever reads has enough, as `head` does after ten lines: nobody is left to tell. */
const endQuietly = (error: NodeJS.ErrnoException): never => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
};

if (import.meta.main) {
  process.stdout.on("error", endQuietly);
  process.exitCode = await main(process.argv.slice(2));
}
