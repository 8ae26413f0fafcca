/** What relying parties read to check ServiceAccount tokens: the keys, and where they are. */
import type { Route, RouteAnswer } from "../discovery/index.ts";
import type { TokenKeys } from "./tokens.ts";

const HOUR = 3600;

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
