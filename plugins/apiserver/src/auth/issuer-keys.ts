/** The keys of an OpenID Connect issuer: found through its discovery document, kept, and looked up again when one is missing. */
import { createPublicKey } from "node:crypto";
import { get } from "node:https";
import { isIP } from "node:net";
import { type VerifyingKey, verifyingKey } from "./jwt.ts";

export interface IssuerKeys {
  /** Those known now; fetched when none are, or when they are old. */
  current(): Promise<readonly VerifyingKey[]>;
  /** Asks the issuer again, unless that was done a moment ago; undefined then. */
  again(): Promise<readonly VerifyingKey[] | undefined>;
}

export interface IssuerOptions {
  /** `iss` of its tokens. */
  readonly url: string;
  /** Where the discovery document is, when it is not below `url`. */
  readonly discoveryUrl?: string | undefined;
  /** PEM of the authorities of its certificate; default: the system's. */
  readonly ca?: string | undefined;
  readonly now: () => number;
}

const HOUR = 3_600_000;
/** A stranger's tokens must not make this server ask without end. */
const PAUSE = 10_000;
const TIMEOUT = 5000;
const MAX_ANSWER = 1024 * 1024;

export function createIssuerKeys({ url, discoveryUrl, ca, now }: IssuerOptions): IssuerKeys {
  let keys: readonly VerifyingKey[] = [];
  let fetchedAt = -Infinity;
  let triedAt = -Infinity;
  let pending: Promise<readonly VerifyingKey[]> | undefined;

  async function fetchKeys(): Promise<readonly VerifyingKey[]> {
    const document = await fetchJson(discoveryUrl ?? `${url.replace(/\/$/, "")}/.well-known/openid-configuration`, ca);
    if (document.issuer !== url) throw new Error(`the issuer calls itself ${JSON.stringify(document.issuer)} and not ${JSON.stringify(url)}`);
    const { keys: found } = await fetchJson(String(document.jwks_uri), ca);
    if (!Array.isArray(found)) throw new Error("the issuer's keys are no list");
    keys = found.flatMap(readKey);
    fetchedAt = now();
    return keys;
  }

  const refresh = (): Promise<readonly VerifyingKey[]> => {
    triedAt = now();
    pending ??= fetchKeys().finally(() => (pending = undefined));
    return pending;
  };

  return {
    async current() {
      if (pending && keys.length === 0) return pending;
      if (now() - fetchedAt < HOUR) return keys;
      if (now() - triedAt >= PAUSE) return refresh();
      if (keys.length === 0) throw new Error(`the keys of ${url} could not be fetched a moment ago`);
      return keys;
    },
    again: async () => (now() - triedAt < PAUSE ? pending : refresh()),
  };
}

/** Keys for other uses, and of kinds that sign no tokens, are passed over. */
function readKey(jwk: { readonly use?: string; readonly kid?: string }): VerifyingKey[] {
  if (jwk.use !== undefined && jwk.use !== "sig") return [];
  try {
    return [verifyingKey(createPublicKey({ key: jwk as never, format: "jwk" }), jwk.kid)];
  } catch {
    return [];
  }
}

/** HTTPS alone, and no redirects: what is fetched decides who may come in. */
function fetchJson(address: string, ca: string | undefined): Promise<Record<string, unknown>> {
  const url = new URL(address);
  if (url.protocol !== "https:") throw new Error(`${address} is not https`);
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => reject(new Error(`${address}: ${why}`));
    const options = { ...(ca && { ca }), signal: AbortSignal.timeout(TIMEOUT), headers: { accept: "application/json" }, ...(isIP(url.hostname) === 0 && { servername: url.hostname }) };
    get(url, options, async (res) => {
      try {
        if (res.statusCode !== 200) return fail(`status ${res.statusCode}`);
        let text = "";
        for await (const chunk of res.setEncoding("utf8")) if ((text += chunk).length > MAX_ANSWER) return fail("the answer is too large");
        const value = JSON.parse(text) as unknown;
        if (typeof value !== "object" || value === null) return fail("the answer is no object");
        resolve(value as Record<string, unknown>);
      } catch (error) {
        fail((error as Error).message);
      }
    }).on("error", (error) => fail(error.message));
  });
}
