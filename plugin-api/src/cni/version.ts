/** Versions of the CNI specification: which ones there are, and which one a runtime and a list agree on. */
import type { CniConfList } from "../slots/node.ts";

/** With a result that the runtimes of today read; 1.1.0 brought STATUS, GC and lists of several versions. */
export const cniVersions: readonly string[] = Object.freeze(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]);

export const atLeastCni = (version: string, wanted: string): boolean => version.localeCompare(wanted, "en", { numeric: true }) >= 0;

/** All that a list offers, the lowest first. */
export const offeredCni = ({ cniVersion, cniVersions: more = [] }: CniConfList): readonly string[] =>
  [...new Set([cniVersion, ...more])].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));

/** What a runtime of the specification 1.1 takes: the highest of the list that it knows. */
export const agreedCni = (list: CniConfList): string => offeredCni(list).findLast((version) => cniVersions.includes(version)) ?? list.cniVersion;
