/** What values of settings must look like: each refuses with the setting, where it was given and what is expected. */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { k3spError, parseCidr, type K3spError } from "@k3s-p/plugin-api";
import type { Settings } from "../config/load.ts";

export const invalid = (name: string, value: string, expected: string, settings: Settings): K3spError =>
  wrong(name, `${JSON.stringify(value)} is not allowed`, settings, `   ${expected}`);

/** Of a value that is well-formed and still cannot be. */
export const refused = (name: string, value: string, settings: Settings, why: string, fix: string): K3spError => wrong(name, `${value} ${why}`, settings, "", fix);

function wrong(name: string, what: string, settings: Settings, expected: string, fix?: string): K3spError {
  const source = settings.values.get(name)?.source ?? "the default";
  return k3spError(source.startsWith("-") ? "K3SP_FLAG_INVALID" : "K3SP_CONFIG_INVALID", { message: `${name}: ${what}`, detail: [`from ${source}${expected}`], ...(fix !== undefined && { fix }) });
}

type Check = (name: string, value: string, settings: Settings) => void;

const check = (test: (value: string) => boolean, expected: string): Check => (name, value, settings) => {
  if (!test(value)) throw invalid(name, value, expected, settings);
};

const domain = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
export const isLoopback = (ip: string): boolean => ip.startsWith("127.") || ip === "::1";
export const isDomain = (text: string): boolean => domain.test(text);
/** Of labels and taints: `[DOMAIN/]NAME`, and up to 63 characters for a value. */
const word = "[A-Za-z0-9]([-\\w.]{0,61}[A-Za-z0-9])?";
const key = `([a-z0-9][-a-z0-9.]*/)?${word}`;
const label = new RegExp(`^${key}=(${word})?$`);
const taint = new RegExp(`^${key}(=(${word})?)?:(NoSchedule|PreferNoSchedule|NoExecute)$`);

export const checkIp = check((value) => isIP(value) !== 0, "an IP address is expected");
export const checkDomain = check(isDomain, "a domain such as cluster.local is expected");
export const checkName = check((value) => isIP(value) !== 0 || isDomain(value.toLowerCase().replace(/^\*\./, "")), "a DNS name or an IP address is expected");
export const checkLabel = check((value) => label.test(value), "a label KEY=VALUE is expected");
export const checkTaint = check((value) => taint.test(value), "a taint KEY=VALUE:EFFECT is expected, its effect NoSchedule, PreferNoSchedule or NoExecute");

const checkCidr = check((value) => parseCidr(value) !== undefined, "a network such as 10.42.0.0/16 is expected");
export function checkCidrs(name: string, values: readonly string[], settings: Settings): void {
  for (const value of values) checkCidr(name, value, settings);
}

/** The id of a group that has this name or id. */
export function groupId(group: string, settings: Settings, table = readFileSync("/etc/group", "utf8")): number {
  const entry = table.split("\n").map((line) => line.split(":")).find(([name, , id]) => name === group || id === group);
  if (entry) return Number(entry[2]);
  throw invalid("write-kubeconfig-group", group, "a group of this machine is expected", settings);
}

export function portRange(text: string, settings: Settings): readonly [number, number] {
  const match = /^(\d+)-(\d+)$/.exec(text);
  const range = match && ([Number(match[1]), Number(match[2])] as const);
  if (range && range[0] > 0 && range[0] <= range[1] && range[1] < 65536) return range;
  throw invalid("service-node-port-range", text, "two ports such as 30000-32767 are expected", settings);
}
