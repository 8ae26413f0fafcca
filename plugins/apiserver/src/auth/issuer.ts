/** What relying parties read to check ServiceAccount tokens: the keys, and where they are. */
import type { Route, RouteAnswer } from "../discovery/index.ts";
import type { ServerArgs } from "../server/args.ts";
import type { TokenKeys, TokenKeysOptions } from "./tokens.ts";

const HOUR = 3600;

/** `--service-account-issuer` (the first issues, all are accepted), `--api-audiences` and `--service-account-jwks-uri`. */
export function issuerSettings(args: ServerArgs, clusterDomain: string): Pick<TokenKeysOptions, "issuer" | "formerIssuers" | "audiences" | "jwksUri"> {
  const list = (name: string): string[] => (args.get(name) ?? "").split(",").filter(Boolean);
  const [issuer = `https://kubernetes.default.svc.${clusterDomain}`, ...formerIssuers] = list("service-account-issuer");
  const audiences = list("api-audiences");
  const jwksUri = args.get("service-account-jwks-uri");
  return { issuer, formerIssuers, audiences: audiences.length > 0 ? audiences : [issuer, "k3s"], ...(jwksUri && { jwksUri }) };
}

/** `/openid/v1/jwks` and `/.well-known/openid-configuration`. */
export function issuerRoutes(tokens: TokenKeys): Route {
  const jwks = answer("application/jwk-set+json", tokens.jwks());
  const discovery = answer("application/json", tokens.discovery());
  return (path) => {
    if (path === "/openid/v1/jwks" || path === "/openid/v1/jwks/") return jwks;
    if (path === "/.well-known/openid-configuration" || path === "/.well-known/openid-configuration/") return discovery;
    return undefined;
  };
}

const answer = (type: string, body: object): RouteAnswer =>
  ({ status: 200, headers: { "content-type": type, "cache-control": `public, max-age=${HOUR}` }, body: Buffer.from(JSON.stringify(body)) });
