/** `k3s-p plugin VERB`: `plan` resolves and validates without running plugin code, the others ask a running server. */
import { ask } from "../admin/client.ts";
import { adminSocket } from "../admin/path.ts";
import type { ChangeResult, GraphResult, ListResult, Request, TimelineResult } from "../admin/protocol.ts";
import type { LogLine } from "../admin/logs.ts";
import { nodePaths } from "../node/identity.ts";
import { readSettings } from "../plan.ts";
import { absoluteSource } from "../sources/locate.ts";
import { parseWords, verbOf, type Words } from "./words.ts";
import { graphAs, inspectText, listText, logText, timelineText } from "./plugin-format.ts";

interface Verb {
  readonly usage: string;
  readonly words: number;
  readonly run: (args: Words, to: string) => Promise<string>;
}

const change = (op: string, words: number, usage: string): Verb => ({
  usage, words,
  async run({ words: [name = "", by = ""], flags }, to) {
    const request: Request = { op, name: absoluteSource(name), ...(by && { by: absoluteSource(by) }), force: flags.has("force") };
    return (await ask<ChangeResult>(to, request)).lines.map((line) => `${line}\n`).join("");
  },
});
const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/** A table, so that help and dispatch cannot disagree. */
const verbs: Readonly<Record<string, Verb>> = {
  list: {
    usage: "list [--json]", words: 0,
    async run({ flags }, to) {
      const result = await ask<ListResult>(to, { op: "list" });
      return flags.has("json") ? json(result) : listText(result, Date.now());
    },
  },
  inspect: {
    usage: "inspect NAME [--json]", words: 1,
    async run({ words: [name = ""], flags }, to) {
      const result = await ask<Record<string, unknown>>(to, { op: "inspect", name });
      return flags.has("json") ? json(result) : inspectText(result);
    },
  },
  enable: change("enable", 1, "enable NAME|SOURCE"),
  disable: change("disable", 1, "disable NAME [--force]"),
  reload: change("reload", 1, "reload NAME"),
  replace: change("replace", 2, "replace NAME SOURCE|NAME"),
  graph: {
    usage: "graph [--format text|dot|mermaid]", words: 0,
    run: async ({ flags }, to) => graphAs(flags.get("format") || "text", await ask<GraphResult>(to, { op: "graph" })),
  },
  timeline: {
    usage: "timeline [--json]", words: 0,
    async run({ flags }, to) {
      const result = await ask<TimelineResult>(to, { op: "timeline" });
      return flags.has("json") ? json(result) : timelineText(result);
    },
  },
  logs: {
    usage: "logs NAME [--follow]", words: 1,
    async run({ words: [name = ""], flags }, to) {
      await ask(to, { op: "logs", name, follow: flags.has("follow") }, (line: LogLine) => process.stdout.write(logText(line)));
      return "";
    },
  },
};

interface Tool {
  readonly usage: string;
  run(argv: readonly string[]): Promise<number>;
}

/** Those that need no running server. */
const tools: Readonly<Record<string, () => Promise<Tool>>> = {
  plan: () => import("./plugin-plan.ts"),
  new: () => import("./plugin-new.ts"),
  test: () => import("./plugin-test.ts"),
  approve: () => import("./plugin-approve.ts"),
};

export async function usages(): Promise<readonly string[]> {
  const loaded = await Promise.all(Object.values(tools).map((load) => load()));
  return [...loaded.map(({ usage }) => usage), ...Object.values(verbs).map(({ usage }) => `plugin ${usage}`)];
}

export async function run(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  const found = verbOf<Verb | (() => Promise<Tool>)>("plugin", { ...tools, ...verbs }, name);
  if (typeof found === "function") return (await found()).run(rest);
  const args = parse(rest, found);
  const dataDir = args.flags.get("data-dir");
  const settings = readSettings(dataDir ? ["--data-dir", dataDir] : []);
  process.stdout.write(await found.run(args, adminSocket(nodePaths(settings))));
  return 0;
}

const valued = ["data-dir", "format"];

function parse(argv: readonly string[], { usage, words }: Verb): Words {
  const flags = [...usage.matchAll(/--(\w+)/g)].map((m) => m[1]!);
  const isValued = (flag: string): boolean => valued.includes(flag);
  return parseWords(argv, `plugin ${usage}`, words, ["data-dir", ...flags.filter(isValued)], flags.filter((flag) => !isValued(flag)));
}
