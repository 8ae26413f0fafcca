/** `k3s-p token create|list|delete|generate|rotate`: bootstrap tokens of the cluster, and the server's own token. */
import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { bootstrapTokenPattern, formatJoinToken, k3spError, parseJoinToken, replaceFileDurably } from "@k3s-p/plugin-api";
import { isAlreadyExists, isNotFound, secrets, type KubeClient, type Secret } from "@k3s-p/plugin-api/kube";
import type { Settings } from "../config/load.ts";
import { nodeInfo } from "../node/identity.ts";
import { readSettings } from "../plan.ts";
import { answered, readKubeconfig } from "./kubeconfig.ts";
import { textTable } from "./table.ts";
import { localOnly, parseWords, verbOf, type Words } from "./words.ts";

const NAMESPACE = "kube-system";
const TYPE = "bootstrap.kubernetes.io/token";
const PREFIX = "bootstrap-token-";

interface Verb {
  readonly usage: string;
  /** Fewest and most words. */
  readonly words: readonly [number, number];
  readonly valued: readonly string[];
  run(words: Words, settings: Settings, now: Date): Promise<string> | string;
}

const verbs: Readonly<Record<string, Verb>> = {
  create: {
    usage: "token create [TOKEN] [--description TEXT] [--groups NAMES] [--ttl DURATION] [--usages NAMES]", words: [0, 1],
    valued: ["description", "groups", "ttl", "usages", "kubeconfig"], run: create,
  },
  list: { usage: "token list [--output text|json]", words: [0, 0], valued: ["output", "kubeconfig"], run: list },
  delete: { usage: "token delete TOKEN...", words: [1, 99], valued: ["kubeconfig"], run: remove },
  generate: { usage: "token generate", words: [0, 0], valued: [], run: () => `${newToken()}\n` },
  rotate: { usage: "token rotate [--token TOKEN] [--new-token TOKEN]", words: [0, 0], valued: ["token", "new-token", "server"], run: rotate },
};

export const usages = (): readonly string[] => Object.values(verbs).map((verb) => verb.usage);

export async function run(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  const verb = verbOf("token", verbs, name);
  const words = parseWords(rest, verb.usage, verb.words, [...verb.valued, "data-dir"]);
  const dataDir = words.flags.get("data-dir");
  process.stdout.write(await answered(verb.run(words, readSettings(dataDir ? ["--data-dir", dataDir] : []), new Date())));
  return 0;
}

interface Cluster {
  readonly kube: KubeClient;
  readonly ca: string;
}

async function connect({ flags }: Words, settings: Settings): Promise<Cluster> {
  const path = flags.get("kubeconfig") ?? process.env.KUBECONFIG ?? nodeInfo(settings, []).cluster.kubeconfig.path;
  const connection = readKubeconfig(path);
  const { createHttpsClient } = await import("@k3s-p/plugin-api/kube/https");
  return { kube: createHttpsClient(connection), ca: connection.ca };
}

const ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz";
const random = (length: number): string => Array.from({ length }, () => ALPHABET[randomInt(ALPHABET.length)]).join("");
const newToken = (): string => `${random(6)}.${random(16)}`;

async function create(input: Words, settings: Settings, now: Date): Promise<string> {
  const { words: [given], flags } = input;
  const [, id, secret] = bootstrapTokenPattern.exec(given ?? newToken()) ?? [];
  if (!id || !secret) throw invalid(`"${given}" is no bootstrap token`, "give six characters, a dot and sixteen characters, of a-z and 0-9, or nothing to generate one");
  const usages = listOf(flags.get("usages") ?? "signing,authentication");
  const unknown = usages.find((usage) => usage !== "signing" && usage !== "authentication");
  if (unknown !== undefined) throw invalid(`--usages: "${unknown}" is not allowed`, "use signing, authentication or both");
  const groups = listOf(flags.get("groups") ?? "system:bootstrappers:k3s:default-node-token");
  const wrong = groups.find((group) => !/^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$/.test(group));
  if (wrong !== undefined) throw invalid(`--groups: "${wrong}" is not allowed`, "give groups such as system:bootstrappers:mine");
  const ttl = milliseconds(flags.get("ttl") ?? "24h");
  const description = flags.get("description");
  const { kube, ca } = await connect(input, settings);
  const stringData: Record<string, string> = {
    "token-id": id, "token-secret": secret, ...(description && { description }),
    ...(ttl > 0 && { expiration: new Date(now.getTime() + ttl).toISOString().replace(/\.\d+Z$/, "Z") }),
    ...Object.fromEntries(usages.map((usage) => [`usage-bootstrap-${usage}`, "true"])),
    ...(groups.length > 0 && { "auth-extra-groups": groups.join(",") }),
  };
  const data = Object.fromEntries(Object.entries(stringData).map(([key, value]) => [key, Buffer.from(value).toString("base64")]));
  try {
    await kube.create(secrets, { metadata: { name: PREFIX + id, namespace: NAMESPACE }, type: TYPE, data });
  } catch (error) {
    if (isAlreadyExists(error)) throw invalid(`a token with id "${id}" already exists`, `k3s-p token delete ${id}, or choose another id`);
    throw error;
  }
  return `${formatJoinToken(ca, `${id}.${secret}`)}\n`;
}

const invalid = (message: string, fix: string) => k3spError("K3SP_FLAG_INVALID", { message, fix });

const listOf = (text: string): string[] => text.split(",").map((item) => item.trim()).filter(Boolean);

/** Go's durations: `24h`, `1h30m`, `90s`, `0`. */
function milliseconds(text: string): number {
  const units: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000 };
  if (text === "0") return 0;
  if (!/^(\d+(\.\d+)?[hms])+$/.test(text)) throw invalid(`--ttl: "${text}" is no duration`, "give one such as 24h or 1h30m; 0 never expires");
  return [...text.matchAll(/([\d.]+)([hms])/g)].reduce((sum, [, count, unit]) => sum + Number(count) * units[unit!]!, 0);
}

interface TokenInfo {
  readonly token: string;
  readonly description: string;
  readonly ttl: string;
  readonly expires: string;
  readonly usages: readonly string[];
  readonly groups: readonly string[];
}

async function list(input: Words, settings: Settings, now: Date): Promise<string> {
  const output = input.flags.get("output") ?? "text";
  if (output !== "text" && output !== "json") throw invalid(`--output: "${output}" is not allowed`, "use text or json");
  const { kube } = await connect(input, settings);
  const { items } = await kube.list(secrets, { namespace: NAMESPACE, fieldSelector: `type=${TYPE}` });
  const tokens = items.filter(({ metadata }) => metadata.name!.startsWith(PREFIX)).map((secret) => describe(secret, now));
  if (output === "json") return `${JSON.stringify(tokens, null, 2)}\n`;
  const rows = tokens.map((t) => [t.token, t.ttl, t.expires, t.usages.join(",") || "<none>", t.description || "<none>", t.groups.join(",") || "<none>"]);
  return textTable([["TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS"], ...rows]);
}

function describe({ data = {} }: Secret, now: Date): TokenInfo {
  const text = (name: string): string => Buffer.from(data[name] ?? "", "base64").toString();
  const expires = text("expiration");
  return {
    token: `${text("token-id")}.${text("token-secret")}`, description: text("description"),
    ttl: expires ? lifetime(Date.parse(expires) - now.getTime()) : "<forever>", expires: expires || "<never>",
    usages: ["authentication", "signing"].filter((usage) => text(`usage-bootstrap-${usage}`) === "true"),
    groups: listOf(text("auth-extra-groups")),
  };
}

function lifetime(ms: number): string {
  if (Number.isNaN(ms) || ms <= 0) return "<invalid>";
  const hours = Math.floor(ms / 3_600_000);
  return hours >= 1 ? `${hours}h` : `${Math.floor(ms / 60_000)}m`;
}

async function remove(input: Words, settings: Settings): Promise<string> {
  const { kube } = await connect(input, settings);
  const lines: string[] = [];
  for (const word of input.words) {
    const id = parseJoinToken(word).password.split(".")[0]!;
    if (!/^[a-z0-9]{6}$/.test(id)) throw invalid(`"${word}" is neither a bootstrap token nor the id of one`, "see k3s-p token list");
    try {
      await kube.delete(secrets, PREFIX + id, { namespace: NAMESPACE });
    } catch (error) {
      if (isNotFound(error)) throw invalid(`no bootstrap token has the id "${id}"`, "see k3s-p token list");
      throw error;
    }
    lines.push(`bootstrap token "${id}" deleted\n`);
  }
  return lines.join("");
}

/** The next start takes the password of the file, unless a flag or config file gives one. */
async function rotate({ flags }: Words, settings: Settings): Promise<string> {
  const { paths } = nodeInfo(settings, []);
  const before = currentToken(paths.token);
  const claimed = flags.get("token");
  if (claimed !== undefined && parseJoinToken(claimed).password !== before.password) throw invalid("--token is not the server's token", `see ${paths.token}`);
  const password = parseJoinToken(flags.get("new-token") ?? random(32)).password;
  if (!password) throw invalid("--new-token is empty", "give a password, or nothing to generate one");
  await replaceFileDurably(paths.token, `K10${before.caHash}::server:${password}\n`);
  const configured = settings.values.get("token") ?? settings.values.get("token-file");
  return [
    "WARNING: Recommended to keep a record of the old token. If restoring from a snapshot, you must use the token associated with that snapshot.",
    ...(configured ? [`WARNING: the token is also given by ${configured.source}, which decides at the next start; change it there too.`] : []),
    `Token rotated, restart k3s-p with the new token in ${paths.token}`, localOnly(flags),
  ].join("\n");
}

function currentToken(path: string) {
  try {
    return parseJoinToken(readFileSync(path, "utf8").trim());
  } catch (cause) {
    throw k3spError("K3SP_PERMISSION_DENIED", { message: `the server's token cannot be read from ${path}`, fix: "start the server once, or name its folder with --data-dir", cause });
  }
}
