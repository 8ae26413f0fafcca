/** What a plugin may do, as a list of short texts: the same for the user to read, for the lock file and for a comparison. */
import { runsInServer } from "../isolation/program.ts";
import type { Manifest } from "../kernel/manifest.ts";

/** Sorted: `kube get pods`, `run ip`, `write /etc/x`, `use runtime`, `provide cni`, `capability NET_ADMIN`, `inline`. */
export function rightsOf(manifest: Manifest): readonly string[] {
  const { permissions, provides, needs, wants, contributes, exec: { program } } = manifest;
  const { kube = [], exec = [], fs = {}, net, memory, uid, capabilities = [] } = permissions;
  return [...new Set([
    ...Object.keys(provides).map((slot) => `provide ${slot}`),
    ...[...Object.keys(needs), ...Object.keys(wants)].map((slot) => `use ${slot}`),
    ...contributes.map((point) => `contribute ${point}`),
    ...(kube === "admin" ? ["kube * *.*"] : kube === "node" ? ["identity node"] : kube.flatMap(({ groups, resources, verbs }) =>
      verbs.flatMap((verb) => resources.flatMap((resource) => groups.map((group) => `kube ${verb} ${resource}${group && `.${group}`}`))))),
    ...[...exec, ...(program === undefined ? [] : [program])].map((name) => `run ${name}`),
    ...(fs.read ?? []).map((path) => `read ${path}`), ...(fs.write ?? []).map((path) => `write ${path}`),
    ...(net ? ["network"] : []), ...(memory ? [`memory ${memory}`] : []),
    ...(uid === undefined ? [] : [`uid ${uid}`]), ...capabilities.map((name) => `capability ${name}`),
    ...(runsInServer(manifest) ? ["inline"] : []),
  ])].sort();
}

/** Those of `wanted` that `approved` does not hold. */
export const beyond = (wanted: readonly string[], approved: readonly string[]): readonly string[] =>
  wanted.filter((right) => !approved.some((given) => covers(given, right)));

type Cover = (given: readonly string[], right: readonly string[]) => boolean;

const below = (folder = "", path = ""): boolean => path === folder || path.startsWith(`${folder}/`);
const kubeParts = ([verb = "", target = ""]: readonly string[]): readonly string[] => {
  const [resource = "", ...group] = target.split(".");
  return [verb, resource, group.join(".")];
};

/** Kind of right -> what it holds beside itself; whoever may write a folder may read it. */
const coverings: Readonly<Record<string, Cover>> = {
  "kube kube": (given, right) => kubeParts(given).every((part, i) => part === "*" || part === kubeParts(right)[i]),
  "run run": ([given]) => given === "*",
  "capability capability": ([given]) => given === "ALL",
  "read read": ([given], [right]) => below(given, right),
  "write write": ([given], [right]) => below(given, right),
  "write read": ([given], [right]) => below(given, right),
  "memory memory": ([given], [right]) => Number(given) >= Number(right),
};

function covers(given: string, right: string): boolean {
  if (given === right) return true;
  const [kind, ...words] = given.split(" ");
  const [wanted, ...others] = right.split(" ");
  return coverings[`${kind} ${wanted}`]?.(words, others) ?? false;
}

/** Shorter: the verbs on one resource together, every other kind on one line. */
export function describeRights(rights: readonly string[]): readonly string[] {
  const lines = Map.groupBy(rights, (right) => {
    const [kind = "", , target = ""] = right.split(" ");
    return kind === "kube" ? `kube ${target}` : kind;
  });
  return [...lines].map(([key, list]) => {
    const words = list.map((right) => right.split(" ")[1]).filter(Boolean).join(", ");
    if (key === "kube *.*") return "kube: everything";
    return words ? `${key}: ${words}` : key;
  });
}
