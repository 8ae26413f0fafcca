/** Names of definitions, as upstream gives them. */
import { isBuiltinGroup } from "../discovery/priorities.ts";
import { packageOf } from "../patch/shape.ts";

const roots: Readonly<Record<string, string>> = {
  apiextensions: "io.k8s.apiextensions-apiserver.pkg.apis",
  apiregistration: "io.k8s.kube-aggregator.pkg.apis",
  meta: "io.k8s.apimachinery.pkg.apis",
};

/** Full name of a built-in type: `core/v1.Pod` -> `io.k8s.api.core.v1.Pod`. */
export function definitionName(type: string): string {
  const dot = type.lastIndexOf(".");
  const pkg = type.slice(0, dot);
  const root = roots[pkg.split("/")[0]!] ?? "io.k8s.api";
  return `${root}.${pkg.replace("/", ".")}.${type.slice(dot + 1)}`;
}

/** A kind of a custom group has its group reversed: `com.example.stable.v1.CronTab`. */
export function kindDefinition(group: string, version: string, kind: string): string {
  if (isBuiltinGroup(group)) return definitionName(`${packageOf(group)}/${version}.${kind}`);
  return `${group.split(".").reverse().join(".")}.${version}.${kind}`;
}
