/** What an error on the way to the server means: that it refuses this node, that somebody else answers, or that it is away. */
import { k3spError, type K3spError } from "@k3s-p/plugin-api";
import { SupervisorError } from "./supervisor-client.ts";

/** Where this machine knocks, and as whom. */
export interface Door {
  readonly url: string;
  readonly node: { readonly name: string };
}

/** Undefined when another attempt may go better. */
export function refusalOf(error: unknown, door: Door): K3spError | undefined {
  if (error instanceof SupervisorError) return refusals[error.status]?.(error, door);
  const { url } = door;
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    const { hostname } = new URL(url);
    return k3spError("K3SP_JOIN_UNTRUSTED", { message: `the certificate of ${url} is not for ${hostname}`, cause: error, fix: `start the server with --tls-san ${hostname}` });
  }
  if (!foreign.test(code)) return undefined;
  return k3spError("K3SP_JOIN_UNTRUSTED", {
    message: `the certificate of ${url} is not from the cluster's CA (${code})`, cause: error,
    fix: "if the server has new CAs, give this node its token anew; else somebody is in between",
  });
}

const refusals: Readonly<Record<number, (error: SupervisorError, door: Door) => K3spError>> = {
  400: ({ message }) => k3spError("K3SP_JOIN_REFUSED", { message }),
  401: () => k3spError("K3SP_JOIN_REFUSED", { message: "the server does not accept the token", fix: "take it anew from /var/lib/rancher/k3s/server/node-token on the server; bootstrap tokens expire" }),
  403: ({ message }, { node }) => k3spError("K3SP_JOIN_REFUSED", {
    // Other refusals say themselves what would help.
    message, ...(message.startsWith("Node password") && { fix: `give this node another name with --node-name or --with-node-id; or, if it takes the place of the one that has it, kubectl delete node ${node.name}` }),
  }),
};

/** Not those of a clock that is wrong, which is set sooner or later. */
const foreign = /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_SIGNATURE_FAILURE|CERT_UNTRUSTED|CERT_REJECTED|INVALID_CA|INVALID_PURPOSE)/;

/** One line; undefined for what is no trouble of the network or the server. */
export function waitReason(error: unknown): string | undefined {
  if (error instanceof SupervisorError) return error.message;
  // Of several addresses that a name has, the first one speaks for all.
  const first = error instanceof AggregateError ? (error.errors[0] as unknown) : error;
  const { code, path, message, cause } = first as NodeJS.ErrnoException;
  const isOfNetwork = code !== undefined && path === undefined;
  return isOfNetwork || (cause as Error | undefined)?.name === "AbortError" ? message : undefined;
}
