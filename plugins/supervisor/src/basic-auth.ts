/** The passwords of join tokens, as `Authorization: Basic`; they open what the supervisor serves and nothing else. */
import { createHash, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import { parseJoinToken } from "@k3s-p/plugin-api";
import type { Authenticator } from "@k3s-p/plugin-api/points";
import type { UserInfo } from "@k3s-p/plugin-api/slots";

/** All that the supervisor serves is below. */
export const BASE = "/v1-k3s/";

export interface TokenFiles {
  /** `server/token` */
  readonly server: string;
  /** `server/agent-token`; a link to the other, unless agents have a token of their own. */
  readonly agent: string;
}

const users = {
  server: { name: "server", groups: ["k3s:server"] },
  node: { name: "node", groups: ["k3s:agent"] },
} as const satisfies Readonly<Record<string, UserInfo>>;

/** `server:PASSWORD` and `node:PASSWORD`; as a node, the servers' password does as well. */
export function basicAuth(files: TokenFiles): Authenticator {
  return {
    name: "join-token",
    async authenticate({ url, headers }) {
      const given = url.startsWith(BASE) ? credentialsOf(headers.authorization) : undefined;
      if (!given || !Object.hasOwn(users, given.user)) return undefined;
      const user = given.user as keyof typeof users;
      const accepted = user === "server" ? [files.server] : [files.agent, files.server];
      const passwords = await Promise.all(accepted.map(passwordIn));
      return passwords.some((password) => password !== "" && isSame(password, given.password)) ? users[user] : undefined;
    },
  };
}

function credentialsOf(header: string | readonly string[] | undefined): { readonly user: string; readonly password: string } | undefined {
  const encoded = typeof header === "string" ? /^basic +([\w+/=-]+)$/i.exec(header.trim())?.[1] : undefined;
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, "base64").toString("utf8");
  const at = text.indexOf(":");
  return at < 0 ? undefined : { user: text.slice(0, at), password: text.slice(at + 1) };
}

/** Read each time: joins are rare, and the API server writes the files in its own time. */
async function passwordIn(path: string): Promise<string> {
  const text = await readFile(path, "utf8").catch(() => "");
  return parseJoinToken(text.trim()).password;
}

/** In a time that says nothing of either. */
function isSame(a: string, b: string): boolean {
  const hash = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(hash(a), hash(b));
}
