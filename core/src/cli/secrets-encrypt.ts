/** `k3s-p secrets-encrypt status|enable|disable|prepare|rotate|reencrypt|rotate-keys`: asks the running server, as K3s's command does. */
import { k3spError } from "@k3s-p/plugin-api";
import type { KubeConnection } from "@k3s-p/plugin-api/kube/https";
import { nodeInfo } from "../node/identity.ts";
import { readSettings } from "../plan.ts";
import { answered, readKubeconfig } from "./kubeconfig.ts";
import { parseWords, verbOf, type Words } from "./words.ts";

interface State {
  readonly stage: string;
  /** Type and name. */
  readonly activekey: string;
  readonly enable?: boolean;
  readonly hashmatch: boolean;
  readonly hasherror?: string;
  readonly inactivekeys?: readonly string[];
}

interface Verb {
  readonly usage: string;
  readonly flags?: readonly string[];
  /** What is asked of the server; without it the state is shown. */
  readonly request?: (words: Words) => object;
  readonly done?: string;
}

const verbs: Readonly<Record<string, Verb>> = {
  status: { usage: "status [--output text|json]" },
  enable: { usage: "enable", request: () => ({ enable: true }), done: "secrets-encryption enabled" },
  disable: { usage: "disable", request: () => ({ enable: false }), done: "secrets-encryption disabled" },
  prepare: { usage: "prepare", request: () => ({ stage: "prepare" }), done: "prepare completed successfully" },
  rotate: { usage: "rotate", request: () => ({ stage: "rotate" }), done: "rotate completed successfully" },
  reencrypt: {
    usage: "reencrypt [--force] [--skip]", flags: ["force", "skip"], done: "reencryption started",
    request: ({ flags }) => ({ stage: "reencrypt_active", force: flags.has("force"), skip: flags.has("skip") }),
  },
  "rotate-keys": { usage: "rotate-keys", request: () => ({ stage: "rotate_keys" }), done: "keys rotated, reencryption started" },
};

export const usages = (): readonly string[] => Object.values(verbs).map((verb) => `secrets-encrypt ${verb.usage}`);

export async function run(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  const verb = verbOf("secrets-encrypt", verbs, name);
  const words = parseWords(rest, `secrets-encrypt ${verb.usage}`, 0, ["data-dir", "kubeconfig", ...(verb.request ? [] : ["output"])], verb.flags);
  const connection = connect(words);
  if (verb.request) {
    await ask(connection, "PUT", "/v1-k3s/encrypt/config", verb.request(words));
    process.stdout.write(`${verb.done}\n`);
    return 0;
  }
  const state = await ask(connection, "GET", "/v1-k3s/encrypt/status");
  process.stdout.write(words.flags.get("output") === "json" ? `${JSON.stringify(state)}\n` : statusText(state));
  return 0;
}

function connect({ flags }: Words): KubeConnection {
  const dataDir = flags.get("data-dir");
  const settings = readSettings(dataDir ? ["--data-dir", dataDir] : []);
  return readKubeconfig(flags.get("kubeconfig") ?? process.env.KUBECONFIG ?? nodeInfo(settings, []).cluster.kubeconfig.path);
}

/** The server answers when every Secret is written anew. */
const deadline = 600_000;

async function ask(connection: KubeConnection, method: string, path: string, body?: object): Promise<State> {
  const { createHttpsClient } = await import("@k3s-p/plugin-api/kube/https");
  const { status, body: answer } = await answered(createHttpsClient(connection, { deadline }).request(method, path, body));
  if (status < 300) return answer as State;
  const { message = String(answer) } = (answer ?? {}) as { readonly message?: string };
  throw k3spError("K3SP_ENCRYPTION_REFUSED", { message });
}

/** K3s's text, to the blank. */
function statusText({ stage, activekey, enable, hashmatch, hasherror, inactivekeys = [] }: State): string {
  if (enable === undefined) return "Encryption Status: Disabled, no configuration file found\n";
  const rows = [...(activekey ? [[" *", activekey]] : []), ...inactivekeys.map((key) => ["", key])]
    .map(([mark = "", key = ""]) => [mark, ...key.split(/ (.*)/, 2)]);
  const lines = [["Active", "Key Type", "Name"], ["------", "--------", "----"], ...rows];
  const width = (i: number): number => Math.max(...lines.map((line) => line[i]!.length)) + 2;
  return [
    `Encryption Status: ${enable ? "Enabled" : "Disabled"}`, `Current Rotation Stage: ${stage}`,
    `Server Encryption Hashes: ${hashmatch ? "All hashes match" : hasherror}`, "",
    ...lines.map(([mark = "", type = "", name = ""]) => `${mark.padEnd(width(0))}${type.padEnd(width(1))}${name}`), "",
  ].join("\n");
}
