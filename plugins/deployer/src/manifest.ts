/** Reads a manifest file: YAML or JSON documents, Lists flattened, one bad document apart from the others. */
import type { KubeObject } from "@k3s-p/plugin-api/kube";
import { parseAllDocuments, type Tags } from "yaml";

export interface Manifest {
  readonly objects: readonly KubeObject[];
  /** One line for each document that is not a Kubernetes object. */
  readonly errors: readonly string[];
}

/** Tags of YAML 1.1 that Kubernetes' own parser leaves as text (times, `80:80` as base 60) or does not know. */
const dropped = new Set(["tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:binary", "tag:yaml.org,2002:omap", "tag:yaml.org,2002:pairs", "tag:yaml.org,2002:set"]);

export function parseManifest(text: string): Manifest {
  const objects: KubeObject[] = [];
  const errors: string[] = [];
  const documents = parseAllDocuments(text, {
    // YAML 1.1 as in kubectl: `0644` is octal, `yes` and `on` are booleans, `<<` merges.
    version: "1.1",
    customTags: (tags: Tags) => tags.filter((tag) => typeof tag === "string" || !(dropped.has(tag.tag) || ("format" in tag && tag.format === "TIME"))),
    prettyErrors: true,
    uniqueKeys: false,
  });
  if (!Array.isArray(documents)) return { objects, errors };
  documents.forEach((document, index) => {
    const problem = document.errors[0];
    if (problem) return void errors.push(`document ${index + 1}: ${problem.message.split("\n")[0]!.replace(/:$/, "")}`);
    try {
      flatten(document.toJS({ maxAliasCount: 1000 }), `document ${index + 1}`, objects, errors);
    } catch (error) {
      errors.push(`document ${index + 1}: ${(error as Error).message}`);
    }
  });
  return { objects, errors };
}

function flatten(value: unknown, where: string, objects: KubeObject[], errors: string[]): void {
  if (value === null || value === undefined) return;
  if (typeof value !== "object" || Array.isArray(value)) return void errors.push(`${where}: not a Kubernetes object`);
  const object = value as KubeObject & { items?: unknown };
  if (typeof object.kind !== "string" || !object.kind) return void errors.push(`${where}: Object 'Kind' is missing`);
  if (typeof object.apiVersion !== "string" || !object.apiVersion) return void errors.push(`${where}: Object 'apiVersion' is missing`);
  if (object.kind.endsWith("List") && Array.isArray(object.items)) {
    object.items.forEach((item, i) => flatten(item, `${where}, items[${i}]`, objects, errors));
    return;
  }
  if (!object.metadata?.name) return void errors.push(`${where}: ${object.kind} has no metadata.name`);
  objects.push(object);
}

/** Replaces `%{NAME}%` for the names that are known; anything else stays as it is. */
export function substitute(text: string, variables: Readonly<Record<string, string>>): string {
  return text.replace(/%\{([A-Z_]+)\}%/g, (match, name: string) => variables[name] ?? match);
}
