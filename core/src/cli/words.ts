/** The words and flags of a small command. */
import { k3spError } from "@k3s-p/plugin-api";
import { didYouMean } from "../kernel/manifest.ts";

export interface Words {
  readonly words: readonly string[];
  readonly flags: ReadonlyMap<string, string>;
}

/** One letter for flags of several commands; which one is meant is the one that the command has. */
const letters: Readonly<Record<string, readonly string[]>> = {
  d: ["data-dir"], f: ["force", "follow"], i: ["install"], o: ["output"], s: ["service", "server"], t: ["token"], y: ["yes"],
};

/** `count` words, or between two counts; `valued` flags take a value (`--slot cni` or `--slot=cni`), the `plain` ones none. */
export function parseWords(argv: readonly string[], usage: string, count: number | readonly [number, number], valued: readonly string[], plain: readonly string[] = []): Words {
  const words: string[] = [];
  const flags = new Map<string, string>();
  const fix = `use k3s-p ${usage}`;
  const known = [...valued, ...plain];
  for (let i = 0; i < argv.length; i++) {
    const [name = "", inline] = argv[i]!.split(/=(.*)/s);
    const flag = flagOf(name, known);
    if (flag === undefined) words.push(argv[i]!);
    else if (plain.includes(flag)) flags.set(flag, "");
    else if (valued.includes(flag)) {
      const value = inline ?? argv[++i];
      if (value === undefined) throw k3spError("K3SP_FLAG_INVALID", { message: `--${flag} needs a value`, fix });
      flags.set(flag, value);
    } else throw k3spError("K3SP_FLAG_UNKNOWN", { message: `unknown flag ${name}${didYouMean(flag, known)}`, fix });
  }
  const [fewest, most] = typeof count === "number" ? [count, count] : count;
  if (words.length < fewest || words.length > most) {
    throw k3spError("K3SP_COMMAND_UNKNOWN", { message: `${usage}: ${words.length} argument${words.length === 1 ? "" : "s"}, ${words.length < fewest ? fewest : most} expected`, fix });
  }
  return { words, flags };
}

/** Undefined for a word; `-` alone is one. */
function flagOf(name: string, known: readonly string[]): string | undefined {
  if (name.startsWith("--")) return name.slice(2);
  if (!/^-\w+$/.test(name)) return undefined;
  return letters[name.slice(1)]?.find((flag) => known.includes(flag)) ?? name.slice(1);
}

/** The verb of a command with subcommands that its first word names. */
export function verbOf<V>(command: string, verbs: Readonly<Record<string, V>>, name: string | undefined): V {
  if (name !== undefined && Object.hasOwn(verbs, name)) return verbs[name]!;
  const known = Object.keys(verbs);
  const message = name === undefined ? `${command} needs a subcommand` : `unknown command "${command} ${name}"${didYouMean(name, known)}`;
  throw k3spError("K3SP_COMMAND_UNKNOWN", { message, fix: `use k3s-p ${command} ${known.join("|")}` });
}

/** K3s sends some commands to the server that `--server` names; here they work on the files of this machine. */
export const localOnly = (flags: ReadonlyMap<string, string>): string =>
  (flags.has("server") ? "--server has no effect: the files of this machine were changed\n" : "");
