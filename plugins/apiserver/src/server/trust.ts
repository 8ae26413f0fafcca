/** The authorities of client certificates and of front proxies, read again when their files change. */
import { readFileSync } from "node:fs";
import { certificatesOf, messageOf } from "@k3s-p/plugin-api";
import type { CaName, Pki } from "@k3s-p/plugin-api/slots";
import { argError, type ServerArgs } from "./args.ts";
import { followFiles } from "./files.ts";

/** PEM. */
export interface Authorities {
  readonly client: string;
  readonly requestHeader: string;
}

export interface TrustOptions {
  readonly pki: Pick<Pki, "ca">;
  readonly args: ServerArgs;
  readonly warn: (message: string) => void;
}

export interface Trust {
  current(): Authorities;
  /** Returns the stop function. */
  follow(onChange: (authorities: Authorities) => void): () => void;
}

/**
 * A CA that takes the place of one of the cluster's is trusted at once. The one before it is too, until the next start: this
 * process still signs with it. Throws when a file of the options is no good.
 */
export function openTrust({ pki, args, warn }: TrustOptions): Trust {
  const client = bundle("client-ca", "client-ca-file");
  const requestHeader = bundle("request-header-ca", "requestheader-client-ca-file");

  function bundle(ca: CaName, option: string): Bundle {
    const { cert, certPath } = pki.ca(ca);
    const files = new Map([[certPath, cert]]);
    const given = args.get(option);
    if (given !== undefined) files.set(given, asArg(option, () => readAuthorities(given)));
    return { own: cert, files };
  }

  const current = (): Authorities => ({ client: textOf(client), requestHeader: textOf(requestHeader) });

  function reread(onChange: (authorities: Authorities) => void): void {
    const before = current();
    for (const { files } of [client, requestHeader]) {
      for (const path of files.keys()) {
        try {
          files.set(path, readAuthorities(path));
        } catch (error) {
          warn(`${path}: ${messageOf(error)}; the authorities of before stay trusted`);
        }
      }
    }
    const now = current();
    if (now.client !== before.client || now.requestHeader !== before.requestHeader) onChange(now);
  }

  return {
    current,
    follow: (onChange) => followFiles([...client.files.keys(), ...requestHeader.files.keys()], {
      onChange: () => reread(onChange), onError: (error) => warn(`changed authorities count at the next start only: ${messageOf(error)}`),
    }),
  };
}

interface Bundle {
  readonly own: string;
  /** By path; what was last read and good. */
  readonly files: Map<string, string>;
}

/** Each certificate once. */
const textOf = ({ own, files }: Bundle): string =>
  [...new Set([own, ...files.values()].flatMap(certificatesOf).map(String))].join("");

function readAuthorities(path: string): string {
  const text = readFileSync(path, "utf8");
  const found = certificatesOf(text);
  if (found.length === 0) throw new Error("it holds no certificate");
  if (!found.every(({ ca }) => ca)) throw new Error("one of its certificates is not one of a CA");
  return text;
}

function asArg<T>(option: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw argError(option, messageOf(error), "name a file with the certificates of authorities, as PEM", error);
  }
}
