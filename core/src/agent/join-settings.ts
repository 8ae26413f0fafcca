/** Which server an agent joins, and with what token: checked before anything is asked. */
import { readFile } from "node:fs/promises";
import { k3spError, parseJoinToken, type JoinToken } from "@k3s-p/plugin-api";
import type { Settings } from "../config/load.ts";
import { invalid, refused } from "../node/checks.ts";

export interface JoinSettings {
  /** Without a path. */
  readonly url: string;
  readonly token?: JoinToken;
}

export async function joinSettings(settings: Settings): Promise<JoinSettings> {
  const text = settings.values.get("server")?.value as string | undefined;
  if (!text) throw k3spError("K3SP_FLAG_INVALID", { message: "server: an agent needs the URL of a server", fix: "--server https://HOST:6443 or K3S_URL" });
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isPlain = url?.protocol === "https:" && url.pathname === "/" && !url.search && !url.hash && !url.username && !url.password;
  if (!isPlain) throw invalid("server", text, "a URL such as https://HOST:6443 is expected", settings);
  const token = await givenToken(settings);
  return { url: url.origin, ...(token && { token }) };
}

/** What it holds is in no message. */
async function givenToken(settings: Settings): Promise<JoinToken | undefined> {
  const inline = settings.values.get("token")?.value as string | undefined;
  const file = settings.values.get("token-file")?.value as string | undefined;
  if (!inline && !file) return undefined;
  const name = inline ? "token" : "token-file";
  const text = (inline ?? (await readToken(file!))).trim();
  const token = parseJoinToken(text);
  const isWhole = text.startsWith("K10") ? token.caHash !== undefined : true;
  if (isWhole && token.password) return token;
  throw refused(name, "what was given", settings, isWhole ? "holds no password" : "begins like a whole token, and is not one", "copy /var/lib/rancher/k3s/server/node-token of the server as it is");
}

async function readToken(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw k3spError("K3SP_PERMISSION_DENIED", { message: `token-file: ${path} cannot be read`, cause });
  }
}
