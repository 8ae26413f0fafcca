/** `k3s-p completion bash|zsh [-i]`: what the shell offers behind k3s-p, made from the tables of commands and flags. */
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { k3spError } from "@k3s-p/plugin-api";
import { flagsOf } from "../config/flags.ts";
import { commands } from "./commands.ts";
import { parseWords } from "./words.ts";

const usage = "completion bash|zsh [-i]";
export const usages = (): readonly string[] => [usage];

/** Zsh understands the functions of bash after this. */
const preludes: Readonly<Record<string, string>> = { bash: "", zsh: "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n" };

export async function run(argv: readonly string[]): Promise<number> {
  const { words: [shell = ""], flags: given } = parseWords(argv, usage, 1, [], ["install"]);
  const prelude = Object.hasOwn(preludes, shell) ? preludes[shell]! : undefined;
  if (prelude === undefined) throw k3spError("K3SP_FLAG_INVALID", { message: `no completion for the shell ${JSON.stringify(shell)}`, fix: `use one of ${Object.keys(preludes).join(", ")}` });
  if (given.has("install")) process.stdout.write(install(shell));
  else process.stdout.write(prelude + script(await candidates()));
  return 0;
}

/** What may follow each command: its subcommands, and the flags of its usages. */
async function candidates(): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, readonly string[]>();
  for (const [name, command] of Object.entries(commands)) {
    const usages = await (await command.load()).usages();
    const words = usages.flatMap((line) => line.split(" ")[1]?.split("|") ?? []).filter((word) => /^[a-z][-a-z]*$/.test(word));
    const own = usages.flatMap((line) => line.match(/--[a-z][-a-z]*/g) ?? []);
    const ofNode = name === "server" || name === "agent" ? flagsOf(name).filter((flag) => !flag.hidden).map((flag) => `--${flag.name}`) : [];
    found.set(name, [...new Set([...words, ...own, ...ofNode])].sort());
  }
  return found;
}

const script = (found: ReadonlyMap<string, readonly string[]>): string => `_k3s_p() {
  local words="${[...found.keys()].sort().join(" ")}"
  if [ "$COMP_CWORD" -gt 1 ]; then
    case "\${COMP_WORDS[1]}" in
${[...found].map(([name, words]) => `      ${name}) words="${words.join(" ")}" ;;`).join("\n")}
      *) words="" ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _k3s_p k3s-p
`;

function install(shell: string): string {
  const file = join(homedir(), `.${shell}rc`);
  const line = `source <(k3s-p completion ${shell})`;
  if (existsSync(file) && readFileSync(file, "utf8").includes(line)) return `${file} has it already\n`;
  appendFileSync(file, `\n# k3s-p\n${line}\n`);
  return `added to ${file}; it counts for new shells\n`;
}
