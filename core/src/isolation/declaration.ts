/** What a manifest may declare under `permissions`, and what is wrong with it. */
import { capabilityNames } from "./capabilities.ts";

/** What a plugin may do beyond its slots; shown by `plugin inspect`, enforced where that is possible. */
export interface Permissions {
  /** RBAC rules of its client, `node` for those of the node that it runs on, or `admin` for all rights. */
  readonly kube?: "admin" | "node" | readonly KubeRule[];
  /** Programs that it may run through the `runner`; `*` = any. */
  readonly exec?: readonly string[];
  /** Paths, or `{name}` of the node's path table: `{cniConf}`. Its own folders are always allowed. */
  readonly fs?: { readonly read?: readonly string[]; readonly write?: readonly string[] };
  /** Sockets of its own. */
  readonly net?: boolean;
  /** Megabytes of heap in a process of its own; default 256. */
  readonly memory?: number;
  /** User of a program (`exec`, `rpc`); default: one of its own, without rights. 0 is root, which owns the node's files. */
  readonly uid?: number;
  /** Linux capabilities of a program, as a container names them: `NET_ADMIN`; `ALL` = root with all that it may; default none. */
  readonly capabilities?: readonly string[];
}

export interface KubeRule {
  readonly groups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

interface Check {
  readonly isGood: (value: unknown) => boolean;
  readonly good: string;
  /** Where it holds a plugin: code that Node runs, or a program; both when nothing is said. */
  readonly holds?: "code" | "programs";
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);
const ofStrings = (value: unknown): value is readonly string[] => Array.isArray(value) && value.every((item) => typeof item === "string");
const isKubeRule = (rule: unknown): boolean => isRecord(rule) && ["groups", "resources", "verbs"].every((key) => ofStrings(rule[key]));
const isFs = (value: unknown): boolean => isRecord(value) && Object.entries(value).every(([key, paths]) => (key === "read" || key === "write") && ofStrings(paths));

export const permissionChecks: Readonly<Record<string, Check>> = {
  kube: {
    isGood: (v) => v === "admin" || v === "node" || (Array.isArray(v) && v.every(isKubeRule)),
    good: '"admin", "node", or a list of { "groups": [""], "resources": ["pods"], "verbs": ["get"] }',
  },
  exec: { isGood: ofStrings, good: 'a list of programs such as ["ip"]' },
  fs: { isGood: isFs, good: '{ "read": ["/etc/x"], "write": ["{cniConf}"] }', holds: "code" },
  net: { isGood: (v) => typeof v === "boolean", good: "true or false", holds: "code" },
  memory: { isGood: (v) => typeof v === "number" && v >= 16, good: "megabytes, at least 16", holds: "code" },
  uid: { isGood: (v) => Number.isInteger(v) && Number(v) >= 0, good: "the number of a user, 0 for root", holds: "programs" },
  capabilities: {
    isGood: (v) => ofStrings(v) && v.every((name) => name === "ALL" || capabilityNames.includes(name)),
    good: 'a list of names such as "NET_ADMIN" of capabilities(7), without CAP_, or "ALL"', holds: "programs",
  },
};

/** What is wrong with one known permission; undefined = nothing. A limit that would not be kept is refused. */
export function permissionProblem(key: string, permissions: Readonly<Record<string, unknown>>, isolation: unknown): string | undefined {
  const { isGood, good, holds } = permissionChecks[key]!;
  const value = permissions[key];
  if (!isGood(value)) return `must be ${good}`;
  if (key === "capabilities" && (value as readonly string[]).includes("ALL") && permissions.uid !== 0) return '"ALL" is for root: declare "uid": 0 as well';
  const mode = isolation === "exec" || isolation === "rpc" ? "programs" : "code";
  if (!holds || holds === mode) return undefined;
  return mode === "programs" ? "does not hold a program, which its uid and capabilities do" : 'holds programs alone ("isolation": "exec" or "rpc")';
}
