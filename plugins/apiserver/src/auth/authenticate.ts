/** Who a request comes from: client certificates, front proxies, ServiceAccount tokens, and impersonation on top of any. */
import { apiError, forbidden } from "@k3s-p/plugin-api/kube";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { CacheView, Obj } from "../resources/types.ts";
import { bootstrapUser } from "./bootstrap-token.ts";
import { isInvalidated } from "./legacy-tokens.ts";
import { authenticateOutside, createAccessMetrics, type MaybePromise, nobodyOutside, type Outside, type AccessMetrics, reviewOutside } from "./outside.ts";
import type { Authorizer } from "./rbac.ts";
import type { AccessAttributes } from "./rules.ts";
import { asTokenClaims, type TokenClaims, type TokenKeys } from "./tokens.ts";

/** The subject of a certificate whose chain the TLS layer has verified: against client-ca, or against request-header-ca. */
export interface PeerCertificate {
  readonly subject: { readonly CN?: string | string[]; readonly O?: string | string[] };
  /** By request-header-ca: it says nothing of the user, the headers do. */
  readonly isFrontProxy?: boolean;
  /** Of the certificate, in hexadecimal. */
  readonly sha256?: string;
}

export interface Credentials {
  readonly method?: string;
  readonly url?: string;
  readonly remoteAddress?: string;
  readonly peerCertificate?: PeerCertificate | undefined;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
}

export interface AuthenticatorDeps {
  readonly view: CacheView;
  readonly tokens: TokenKeys;
  readonly authorizer: Authorizer;
  readonly reviewer?: TokenReviewer;
  /** Default: nobody. */
  readonly outside?: Outside;
  readonly metrics?: AccessMetrics;
  /** Called with the Secret of a token without an end, whenever the token is used. */
  readonly onLegacyToken?: (secret: Obj) => void;
  /** Unix milliseconds. */
  readonly now?: () => number;
}

/** Takes an annotation for the audit log. */
export type Note = (key: string, value: string) => void;

/** Undefined when the credentials name nobody (401); throws or rejects with 403 when the impersonation is not allowed. */
export type Authenticator = (request: Credentials, note?: Note) => MaybePromise<UserInfo | undefined>;

const AUTHENTICATED = "system:authenticated";
const ACCOUNT_PREFIX = "system:serviceaccount:";

export function createAuthenticator(deps: AuthenticatorDeps): Authenticator {
  const byCertificate = new WeakMap<PeerCertificate, UserInfo>();
  const { outside = nobodyOutside, metrics = createAccessMetrics(), reviewer = createTokenReviewer(deps), tokens, authorizer } = deps;

  const certified = ({ peerCertificate, headers }: Credentials): UserInfo | undefined => {
    if (peerCertificate?.isFrontProxy) {
      const user = proxiedUser(peerCertificate, headers);
      if (user) return user;
    } else if (peerCertificate) {
      const known = byCertificate.get(peerCertificate);
      if (known) return known;
      const user = certificateUser(peerCertificate);
      if (user) byCertificate.set(peerCertificate, user);
      return user;
    }
    return undefined;
  };

  const userOf = (request: Credentials, note: Note | undefined): MaybePromise<UserInfo | undefined> => {
    const user = certified(request);
    if (user) return user;
    const token = bearerToken(request.headers.authorization);
    const reviewed = token ? reviewer.review(token, tokens.audiences, note) : undefined;
    if (!(reviewed instanceof Promise)) return reviewed?.user ?? unknownUser(request, token);
    return reviewed.then((found) => found?.user ?? unknownUser(request, token));
  };

  const unknownUser = ({ method = "", url = "", remoteAddress = "", headers }: Credentials, token: string | undefined): MaybePromise<UserInfo | undefined> => {
    if (outside.authenticators().length === 0) return undefined;
    return authenticateOutside(outside, metrics, { method, url, headers, token, remoteAddress });
  };

  return (request, note) => {
    const user = userOf(request, note);
    if (user instanceof Promise) return user.then((found) => found && impersonate(found, request.headers, authorizer));
    return user && impersonate(user, request.headers, authorizer);
  };
}

function certificateUser({ subject, sha256 }: PeerCertificate): UserInfo | undefined {
  const name = asList(subject.CN)[0];
  const extra = sha256 && { [CREDENTIAL_ID]: [`X509SHA256=${sha256}`] };
  return name ? Object.freeze({ name, groups: withAuthenticated(asList(subject.O)), ...(extra && { extra }) }) : undefined;
}

/** Where a user's extra fields name the very certificate or token (KEP-4193). */
const CREDENTIAL_ID = "authentication.kubernetes.io/credential-id";
/** What the id of a token is called there, and in the audit log of its issue. */
export const tokenCredential = (jti: string): string => `JTI=${jti}`;
export const credentialOf = (jti: unknown): Record<string, string[]> => (typeof jti === "string" && jti ? { [CREDENTIAL_ID]: [tokenCredential(jti)] } : {});

/** K3s's `--requestheader-allowed-names`. */
const FRONT_PROXY = "system:auth-proxy";

/** The user whom a front proxy speaks for. Without the proxy's certificate these headers mean nothing. */
function proxiedUser({ subject }: PeerCertificate, headers: Credentials["headers"]): UserInfo | undefined {
  const name = first(headers["x-remote-user"]);
  if (!name || asList(subject.CN)[0] !== FRONT_PROXY) return undefined;
  const uid = first(headers["x-remote-uid"]);
  const extra = extraHeaders(headers, "x-remote-extra-");
  return {
    name, ...(uid && { uid }), groups: withAuthenticated(listOf(headers["x-remote-group"])),
    ...(Object.keys(extra).length > 0 && { extra }),
  };
}

const asList = (value: string | readonly string[] | undefined): readonly string[] =>
  value === undefined ? [] : typeof value === "string" ? [value] : value;

const withAuthenticated = (groups: readonly string[]): readonly string[] =>
  groups.includes(AUTHENTICATED) ? groups : [...groups, AUTHENTICATED];

function bearerToken(header: string | readonly string[] | undefined): string | undefined {
  const match = typeof header === "string" ? /^bearer +(\S+)$/i.exec(header.trim()) : undefined;
  return match?.[1];
}

export interface ReviewedToken {
  readonly user: UserInfo;
  /** Those of the asked audiences that the token is for. */
  readonly audiences: readonly string[];
}

export interface TokenReviewer {
  review(token: string, audiences: readonly string[], note?: Note): MaybePromise<ReviewedToken | undefined>;
}

/** Tokens whose signature has been checked; the rest of the claims is checked every time. */
const REMEMBERED = 4096;

export type ReviewerDeps = Pick<AuthenticatorDeps, "view" | "tokens" | "now" | "outside" | "metrics" | "onLegacyToken">;

export function createTokenReviewer({ view, tokens, now = Date.now, outside = nobodyOutside, metrics = createAccessMetrics(), onLegacyToken = () => {} }: ReviewerDeps): TokenReviewer {
  const signed = new Map<string, Record<string, unknown>>();
  const claimsOf = (token: string): Record<string, unknown> | undefined => {
    const known = signed.get(token);
    if (known) return known;
    const claims = tokens.read(token);
    if (!claims) return undefined;
    if (signed.size >= REMEMBERED) signed.delete(signed.keys().next().value!);
    signed.set(token, claims);
    return claims;
  };
  const accountToken = (token: string, audiences: readonly string[], note: Note): ReviewedToken | undefined => {
    const claims = claimsOf(token);
    if (!claims) return undefined;
    if (claims.iss === LEGACY_ISSUER) return legacyToken({ view, own: tokens.audiences, note, onUse: (secret) => (metrics.token("legacy"), onLegacyToken(secret)) }, token, claims, audiences);
    if (!tokens.issuers.includes(claims.iss as string)) return undefined;
    const known = asTokenClaims(claims);
    const found = known && boundToken(view, known, audiences, now() / 1000);
    if (!found) return undefined;
    const { sub, "kubernetes.io": { warnafter = Infinity } } = known;
    const isStale = now() / 1000 > warnafter;
    metrics.token(isStale ? "stale" : "valid");
    if (isStale) note(STALE_TOKEN, `subject: ${sub}, seconds after warning threshold: ${Math.floor(now() / 1000) - warnafter}`);
    return found;
  };
  const bootstrapToken = (token: string, audiences: readonly string[]): ReviewedToken | undefined => {
    const user = bootstrapUser(view, token, now());
    const shared = audiences.filter((audience) => tokens.audiences.includes(audience));
    return user && shared.length > 0 ? { user, audiences: shared } : undefined;
  };
  return {
    review(token, audiences, note = () => {}) {
      const own = accountToken(token, audiences, note) ?? bootstrapToken(token, audiences);
      return own || outside.tokens().length === 0 ? own : reviewOutside(outside, metrics, token, audiences);
    },
  };
}

const STALE_TOKEN = "authentication.k8s.io/stale-token";
const LEGACY_TOKEN = "authentication.k8s.io/legacy-token";

/** Seconds for which a token may seem to be from the future: clocks are set back by a little, as upstream allows. */
const LEEWAY = 60;

function boundToken(view: CacheView, claims: TokenClaims, audiences: readonly string[], seconds: number): ReviewedToken | undefined {
  const bound = claims["kubernetes.io"];
  if (seconds >= claims.exp || seconds < claims.nbf - LEEWAY) return undefined;
  const shared = audiences.filter((audience) => claims.aud.includes(audience));
  if (shared.length === 0) return undefined;
  const { namespace, serviceaccount, pod, secret, node } = bound;
  const account = view.get("", "serviceaccounts", serviceaccount.name, namespace);
  if (account?.metadata?.uid !== serviceaccount.uid) return undefined;
  if (pod && !isAlive(view.get("", "pods", pod.name, namespace), pod.uid, seconds)) return undefined;
  if (secret && !isAlive(view.get("", "secrets", secret.name, namespace), secret.uid, seconds)) return undefined;
  if (node && !pod && !isAlive(view.get("", "nodes", node.name), node.uid, seconds)) return undefined;
  return { user: accountUser(namespace, serviceaccount, extraOf(claims)), audiences: shared };
}

/** Upstream lets the tokens of a deleted pod or secret live 60 s past the grace period. */
function isAlive(object: Obj | undefined, uid: string, seconds: number): boolean {
  if (object?.metadata?.uid !== uid) return false;
  const { deletionTimestamp } = object.metadata;
  return !deletionTimestamp || seconds < Date.parse(deletionTimestamp) / 1000 + 60;
}

function extraOf({ jti, "kubernetes.io": { pod, node } }: TokenClaims): Record<string, string[]> {
  const prefix = "authentication.kubernetes.io/";
  return {
    ...credentialOf(jti),
    ...(node && { [`${prefix}node-name`]: [node.name], [`${prefix}node-uid`]: [node.uid] }),
    ...(pod && { [`${prefix}pod-name`]: [pod.name], [`${prefix}pod-uid`]: [pod.uid] }),
  };
}

const accountUser = (namespace: string, account: { name: string; uid: string }, extra?: UserInfo["extra"]): UserInfo => ({
  name: `${ACCOUNT_PREFIX}${namespace}:${account.name}`,
  uid: account.uid,
  groups: accountGroups(namespace),
  ...(extra && Object.keys(extra).length > 0 && { extra }),
});

const accountGroups = (namespace: string): string[] =>
  ["system:serviceaccounts", `system:serviceaccounts:${namespace}`, AUTHENTICATED];

/** Tokens without an end that live in a Secret of type `kubernetes.io/service-account-token`. */
const LEGACY_ISSUER = "kubernetes/serviceaccount";

interface LegacyDeps {
  readonly view: CacheView;
  /** The server's audiences, which such a token has all. */
  readonly own: readonly string[];
  readonly onUse: (secret: Obj) => void;
  readonly note: Note;
}

function legacyToken({ view, own, onUse, note }: LegacyDeps, token: string, claims: Record<string, unknown>, audiences: readonly string[]): ReviewedToken | undefined {
  const claim = (name: string) => claims[`kubernetes.io/serviceaccount/${name}`] as string | undefined;
  const namespace = claim("namespace") ?? "";
  const name = claim("service-account.name") ?? "";
  const uid = claim("service-account.uid") ?? "";
  const shared = audiences.filter((audience) => own.includes(audience));
  const account = view.get("", "serviceaccounts", name, namespace);
  if (shared.length === 0 || account?.metadata?.uid !== uid) return undefined;
  const secret = view.get("", "secrets", claim("secret.name") ?? "", namespace);
  const stored = secret?.data?.token as string | undefined;
  if (!secret || !stored || secret.metadata!.deletionTimestamp || isInvalidated(secret) || Buffer.from(stored, "base64").toString() !== token) return undefined;
  onUse(secret);
  const isOurs = account.secrets?.some((ref: { readonly name?: string }) => ref.name === secret.metadata!.name);
  note(LEGACY_TOKEN, `${ACCOUNT_PREFIX}${namespace}:${name}`);
  note(`${LEGACY_TOKEN}-${isOurs ? "autogenerated" : "manual"}-secret`, secret.metadata!.name!);
  return { user: accountUser(namespace, { name, uid }), audiences: shared };
}

interface Wanted {
  readonly name: string;
  readonly groups: readonly string[];
  readonly uid: string;
  readonly extra: Readonly<Record<string, readonly string[]>>;
  /** Namespace and name, when a ServiceAccount is meant. */
  readonly account: readonly string[] | undefined;
}

/** Upstream's impersonation: each part of the wanted identity is a right of its own. */
function impersonate(user: UserInfo, headers: Credentials["headers"], authorizer: Authorizer): MaybePromise<UserInfo> {
  if (!impersonates(headers)) return user;
  const name = first(headers["impersonate-user"]);
  const groups = listOf(headers["impersonate-group"]);
  const uid = first(headers["impersonate-uid"]);
  const extra = extraHeaders(headers, "impersonate-extra-");
  if (!name) {
    if (groups.length > 0 || uid || Object.keys(extra).length > 0) {
      throw apiError(500, "InternalError", "Internal error occurred: requested impersonation of groups, uid or extra without impersonating a user");
    }
    return user;
  }
  const account = name.startsWith(ACCOUNT_PREFIX) ? name.slice(ACCOUNT_PREFIX.length).split(":") : undefined;
  if (account && account.length !== 2) throw forbidden({ group: "", plural: "users" }, name, "invalid service account name");
  const wanted: Wanted = { name, groups, uid, extra, account };
  const checks = rightsFor(wanted).map((attributes) => authorizer.check(user, attributes)).filter((check) => check instanceof Promise);
  return checks.length === 0 ? impersonated(wanted) : Promise.all(checks).then(() => impersonated(wanted));
}

function impersonates(headers: Credentials["headers"]): boolean {
  for (const key in headers) if (key.startsWith("impersonate-")) return true;
  return false;
}

function rightsFor({ name, groups, uid, extra, account }: Wanted): AccessAttributes[] {
  const right = (resource: string, wanted: string, more: Partial<AccessAttributes> = {}): AccessAttributes =>
    ({ isResource: true, verb: "impersonate", path: "", group: "", resource, subresource: "", namespace: "", name: wanted, ...more });
  const group = "authentication.k8s.io";
  return [
    account ? right("serviceaccounts", account[1]!, { namespace: account[0]! }) : right("users", name),
    ...groups.map((one) => right("groups", one)),
    ...(uid ? [right("uids", uid, { group })] : []),
    ...Object.entries(extra).flatMap(([key, values]) => values.map((value) => right("userextras", value, { group, subresource: key }))),
  ];
}

function impersonated({ name, groups, uid, extra, account }: Wanted): UserInfo {
  const own = groups.length > 0 || !account ? groups : accountGroups(account[0]!);
  return {
    name, ...(uid && { uid }),
    groups: name === "system:anonymous" ? own : withAuthenticated(own),
    ...(Object.keys(extra).length > 0 && { extra }),
  };
}

const first = (value: string | readonly string[] | undefined): string => asList(value)[0] ?? "";

/** Node joins repeated headers with a comma and a space. */
const listOf = (value: string | readonly string[] | undefined): readonly string[] =>
  asList(value).flatMap((text) => text.split(", ")).filter(Boolean);

function extraHeaders(headers: Credentials["headers"], prefix: string): Record<string, readonly string[]> {
  const extra: Record<string, readonly string[]> = {};
  for (const key in headers) if (key.startsWith(prefix)) extra[unescaped(key.slice(prefix.length))] = listOf(headers[key]);
  return extra;
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
