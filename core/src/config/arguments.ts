/**
 * Arguments in upstream's manner, `name=value`, for the component whose place a plugin has: which names there are, and which
 * of them do something here. An option of a plugin's schema says so by the keyword `arguments`, the path of a JSON file with
 * the lists `read` and `ignored`.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { k3spError, type K3spError } from "@k3s-p/plugin-api";
import { didYouMean, type Manifest } from "../kernel/manifest.ts";

interface Names {
  readonly read: readonly string[];
  /** Of upstream, and without a meaning here. */
  readonly ignored: readonly string[];
}

interface Given {
  readonly option: string;
  /** Without dashes and values. */
  readonly names: readonly string[];
  readonly known: Names;
}

/** Throws as upstream's components do, before anything starts. `place` is where an option was given. */
export function checkArguments(manifest: Manifest, config: object, place: (option: string) => string): void {
  for (const { option, names, known } of given(manifest, config)) {
    const all = [...known.read, ...known.ignored];
    const unknown = names.filter((name) => !all.includes(name));
    if (unknown.length > 0) throw unknownArguments(manifest, option, unknown, all, place(option));
  }
}

function unknownArguments(manifest: Manifest, option: string, names: readonly string[], known: readonly string[], place: string): K3spError {
  const dashed = known.map((name) => `--${name}`);
  const [first, ...others] = names.map((name) => `unknown flag: --${name}${didYouMean(`--${name}`, dashed)}`);
  return k3spError("K3SP_FLAG_UNKNOWN", {
    message: `${nameOf(manifest, option)}: ${first!}`, detail: [...others, `from ${place}`], plugin: manifest.id,
    fix: `correct or leave out what is named; the README of the plugin ${manifest.id} lists what has an effect`,
  });
}

/** A line an option, so that nobody waits for the effect of what has none. */
export const unreadArguments = (manifests: readonly Manifest[], configs: ReadonlyMap<string, object>): string[] =>
  manifests.flatMap((manifest) => given(manifest, configs.get(manifest.id) ?? {}).flatMap(({ option, names, known }) => {
    const unread = [...new Set(names.filter((name) => known.ignored.includes(name)))];
    return unread.length > 0 ? [`${nameOf(manifest, option)}: ${unread.join(", ")}: accepted, without an effect`] : [];
  }));

/** K3s's flag, where the option has one. */
function nameOf({ id, flags }: Manifest, option: string): string {
  const flag = Object.keys(flags).find((name) => flags[name] === option);
  return flag ?? `plugins.${id}.config.${option}`;
}

/** The lists are read for those alone who give something. */
function given(manifest: Manifest, config: object): Given[] {
  const properties = (manifest.schema.properties ?? {}) as Readonly<Record<string, { readonly arguments?: string }>>;
  return Object.entries(properties).flatMap(([option, { arguments: file }]) => {
    const values = (config as Readonly<Record<string, readonly string[] | undefined>>)[option] ?? [];
    if (file === undefined || values.length === 0) return [];
    const known = JSON.parse(readFileSync(join(manifest.dir, file), "utf8")) as Names;
    return [{ option, known, names: values.map((text) => /^-{0,2}([^=]*)/.exec(text)![1]!) }];
  });
}
