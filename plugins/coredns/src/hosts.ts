/** The `hosts` directive: names from a file in `/etc/hosts` form, here K3s's NodeHosts. */
import { isIP } from "node:net";
import type { Handler } from "./handler.ts";
import { address, answerOf, canonicalIp, inZone, ptr, reverseAddress } from "./records.ts";
import { type Rr, Type } from "./wire.ts";

export interface HostsOptions {
  readonly zones: readonly string[];
  readonly ttl: number;
  readonly reverse: boolean;
  readonly fallthrough: readonly string[] | undefined;
  /** The file's text; read again whenever it is another string. */
  readonly text: () => string;
  /** Lines in the directive's own block. */
  readonly inline: string;
}

export function hostsHandler(options: HostsOptions): Handler {
  const { zones, ttl, fallthrough } = options;
  let source: string | undefined;
  let table = parseHosts("");

  function current() {
    const text = options.text();
    if (text !== source) {
      source = text;
      table = parseHosts(`${options.inline}\n${text}`);
    }
    return table;
  }
  const passesOn = (name: string) => fallthrough?.some((zone) => inZone(name, zone)) ?? false;

  return {
    name: "hosts",
    answer({ name, type }) {
      if (!zones.some((zone) => inZone(name, zone))) return undefined;
      const { byName, byIp } = current();
      let answers: Rr[] = [];
      let known = false;
      if (type === Type.PTR && options.reverse) {
        answers = (byIp.get(reverseAddress(name) ?? "") ?? []).map((target) => ptr(name, ttl, target));
      } else if (type === Type.A || type === Type.AAAA) {
        const ips = byName.get(name);
        known = ips !== undefined;
        answers = (ips ?? []).filter((ip) => isIP(ip) === (type === Type.A ? 4 : 6)).map((ip) => address(name, ttl, ip));
      }
      if (answers.length || known) return { ...answerOf(answers), cacheable: answers.length <= 1 };
      // Without `fallthrough` the directive answers for its zones alone.
      return passesOn(name) ? undefined : { ...answerOf([], { rcode: byName.has(name) ? 0 : 3 }), cacheable: true };
    },
  };
}

function parseHosts(text: string) {
  const byName = new Map<string, string[]>();
  const byIp = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    const [ip = "", ...names] = line.replace(/#.*/, "").trim().split(/\s+/);
    if (!isIP(ip)) continue;
    const key = canonicalIp(ip);
    for (const name of names.map((n) => n.toLowerCase().replace(/\.$/, ""))) {
      byName.set(name, [...new Set([...(byName.get(name) ?? []), key])]);
      byIp.set(key, [...new Set([...(byIp.get(key) ?? []), name])]);
    }
  }
  return { byName, byIp };
}

/** The text with `name`'s lines replaced by one for each address; other lines stay as their authors wrote them. */
export function withHost(text: string, name: string, ips: readonly string[]): string {
  const kept = text.split("\n").filter((line) => {
    const words = line.trim().split(/\s+/);
    return words[0] && !(words.length === 2 && words[1]!.toLowerCase() === name.toLowerCase());
  });
  return [...kept, ...ips.map((ip) => `${ip} ${name}`)].map((line) => `${line}\n`).join("");
}
