/** What patches do in the fake client: JSON merge (RFC 7386), and as much of a strategic merge as plugins send. */

type Obj = any;

export function mergePatch(target: Obj, patch: Obj): Obj {
  if (patch === null || typeof patch !== "object" || Array.isArray(patch)) return patch;
  const result: Obj = { ...(target && typeof target === "object" && !Array.isArray(target) ? target : {}) };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = mergePatch(result[key], value);
  }
  return result;
}

/** Lists whose entries merge by this key; `finalizers` is a set of strings, and all other lists are replaced. */
const mergeKeys: Readonly<Record<string, string>> = {
  ownerReferences: "uid", conditions: "type", addresses: "type", taints: "key", podIPs: "ip", hostIPs: "ip",
};

export function strategicPatch(target: Obj, patch: Obj): Obj {
  const result: Obj = { ...target };
  for (const [key, value] of Object.entries<Obj>(patch)) {
    const primitive = /^\$deleteFromPrimitiveList\/(.+)$/.exec(key)?.[1];
    if (primitive) result[primitive] = (result[primitive] ?? []).filter((item: Obj) => !value.includes(item));
    else if (value === null) delete result[key];
    else if (Array.isArray(value)) result[key] = mergeList(result[key] ?? [], value, key);
    else if (typeof value === "object") result[key] = strategicPatch(result[key] ?? {}, value);
    else result[key] = value;
  }
  return result;
}

function mergeList(before: readonly Obj[], patch: readonly Obj[], field: string): Obj[] {
  const mergeKey = mergeKeys[field];
  if (field === "finalizers") return [...new Set([...before, ...patch])];
  if (!mergeKey) return [...patch];
  let list = [...before];
  for (const item of patch) {
    const at = list.findIndex((old) => old[mergeKey] === item[mergeKey]);
    if (item.$patch === "delete") list = list.filter((old) => old[mergeKey] !== item[mergeKey]);
    else if (at >= 0) list[at] = strategicPatch(list[at], item);
    else list.push(strategicPatch({}, item));
  }
  return list;
}
