/** Label and field selectors of a list or watch, compiled into one predicate. */
import { badRequest, matches, parseFieldSelector, parseLabelSelector } from "@k3s-p/plugin-api/kube";
import type { Obj, ResourceDef } from "../resources/types.ts";

export interface Selection {
  /** Everything matches: nothing has to be parsed or filtered. */
  readonly everything: boolean;
  /** Set when the selector pins one object (`metadata.name=x`). */
  readonly name: string | undefined;
  readonly matches: (object: Obj) => boolean;
}

const everything: Selection = { everything: true, name: undefined, matches: () => true };

/** Throws 400 on text that does not parse and on fields that the resource cannot be selected by. */
export function compileSelection(def: ResourceDef, labels = "", fields = ""): Selection {
  if (!labels && !fields) return everything;
  const requirements = labels ? parsed(() => parseLabelSelector(labels)) : [];
  const wanted = (fields ? parsed(() => parseFieldSelector(fields)) : []).map(({ path, equal, value }) => ({
    read: fieldReader(def, path), equal, value, path,
  }));
  const pinned = wanted.find((f) => f.path === "metadata.name" && f.equal);
  return {
    everything: requirements.length === 0 && wanted.length === 0,
    name: pinned?.value,
    matches: (object) =>
      (requirements.length === 0 || matches(requirements, object.metadata?.labels)) &&
      wanted.every(({ read, equal, value }) => (read(object) === value) === equal),
  };
}

function parsed<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw badRequest((error as Error).message);
  }
}

function fieldReader(def: ResourceDef, path: string): (object: Obj) => string {
  if (path === "metadata.name") return (object) => object.metadata?.name ?? "";
  if (path === "metadata.namespace" && def.namespaced) return (object) => object.metadata?.namespace ?? "";
  const read = def.selectableFields?.[path];
  if (read) return read;
  throw badRequest(def.selectableFields
    ? `field label not supported: ${path}`
    : `${JSON.stringify(path)} is not a known field selector: only "metadata.name", "metadata.namespace"`);
}
