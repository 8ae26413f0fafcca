/** Points of who may ask what: `apiserver.authenticator`, `apiserver.authorizer`. */
import { definePoint } from "../contract.ts";
import type { UserInfo } from "../slots/apiserver.ts";

/** A request that nothing built in could tell the user of. */
export interface AuthenticationRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** Of the header `authorization`, when it bears a token. */
  readonly token: string | undefined;
  readonly remoteAddress: string;
}

/**
 * Asked after client certificates and tokens of the cluster's own. Whoever is named gets the group `system:authenticated`.
 * An error, and no answer within 5 seconds, count as "not known here": the next is asked, and at last the answer is 401.
 */
export interface Authenticator {
  readonly name: string;
  readonly authenticate: (request: AuthenticationRequest) => UserInfo | undefined | Promise<UserInfo | undefined>;
}
export const authenticator = definePoint<Authenticator>("apiserver.authenticator");

export interface AccessRequest {
  readonly user: UserInfo;
  readonly verb: string;
  /** False for paths such as `/metrics`; the fields of a resource are then empty. */
  readonly isResource: boolean;
  readonly path: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
}

export interface Verdict {
  readonly decision: "allow" | "deny";
  /** Shown to the client when it is denied. */
  readonly reason?: string;
}

/**
 * Asked before the rules of RBAC, in order, until one decides; never about `system:masters`, nor about what plugins in
 * the server's own process ask. An error, and no answer within 5 seconds, deny unless `failurePolicy` is `NoOpinion`.
 */
export interface AccessAuthorizer {
  readonly name: string;
  /** Default `Deny`. */
  readonly failurePolicy?: "Deny" | "NoOpinion";
  readonly authorize: (request: AccessRequest) => Verdict | undefined | Promise<Verdict | undefined>;
}
export const authorizer = definePoint<AccessAuthorizer>("apiserver.authorizer");
