/** The published paths that are no resources: discovery, version, and what verifiers of tokens read. */
import type { ResourceDef } from "../resources/types.ts";
import { definitionName } from "./names.ts";
import { camel, groupTag, mediaTypes } from "./operations.ts";

interface General {
  readonly path: string;
  readonly id: string;
  readonly tag: string;
  readonly description: string;
  /** Definition of the answer; absent = text. */
  readonly response?: string;
  readonly produces?: string;
}

const API_GROUP = definitionName("meta/v1.APIGroup");
const RESOURCES = definitionName("meta/v1.APIResourceList");
const VERSION = "io.k8s.apimachinery.pkg.version.Info";

const fixed: readonly General[] = [
  { path: "/.well-known/openid-configuration/", id: "getServiceAccountIssuerOpenIDConfiguration", tag: "WellKnown", description: "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'", produces: "application/json" },
  { path: "/api/", id: "getCoreAPIVersions", tag: "core", description: "get available API versions", response: definitionName("meta/v1.APIVersions") },
  { path: "/apis/", id: "getAPIVersions", tag: "apis", description: "get available API versions", response: definitionName("meta/v1.APIGroupList") },
  { path: "/openid/v1/jwks/", id: "getServiceAccountIssuerOpenIDKeyset", tag: "openid", description: "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)", produces: "application/jwk-set+json" },
  { path: "/version/", id: "getCodeVersion", tag: "version", description: "get the version information for this server", response: VERSION, produces: "application/json" },
];

/** OpenAPI v2 path items. */
export function generalPaths(defs: readonly ResourceDef[]): Record<string, object> {
  const groups = [...new Set(defs.map(({ group }) => group))].filter(Boolean);
  const versions = [...new Set(defs.map(({ group, version }) => `${group}/${version}`))].map((text) => text.split("/") as [string, string]);
  const all: General[] = [
    ...fixed,
    ...groups.map((group): General => ({ path: `/apis/${group}/`, id: `get${camel(groupTag(group))}APIGroup`, tag: groupTag(group), description: "get information of a group", response: API_GROUP })),
    ...versions.map(([group, version]): General => ({
      path: group ? `/apis/${group}/${version}/` : `/api/${version}/`, id: `get${camel(groupTag(group))}${camel(version)}APIResources`,
      tag: `${groupTag(group)}_${version}`, description: "get available resources", response: RESOURCES,
    })),
  ];
  return Object.fromEntries(all.map((general) => [general.path, { get: operation(general) }]));
}

function operation({ id, tag, description, response, produces }: General): object {
  const types = produces ? [produces] : mediaTypes;
  return {
    description, operationId: id, tags: [tag], schemes: ["https"], ...(response && { consumes: types }), produces: types,
    responses: {
      200: { description: "OK", schema: response ? { $ref: `#/definitions/${response}` } : { type: "string" } },
      401: { description: "Unauthorized" },
    },
  };
}
