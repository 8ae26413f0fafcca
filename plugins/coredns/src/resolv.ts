/** The node's upstream servers, by K3s's rule for which resolv.conf is usable. */
import { readFileSync, statSync } from "node:fs";
import { isIP } from "node:net";
import { parseUpstream, type Upstream } from "./upstream.ts";

/** systemd-resolved keeps the real servers in the second file when the first leads to its own stub. */
const files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/** What K3s writes into a resolv.conf of its own when the host's has loopback servers only. */
const lastResort = ["8.8.8.8", "2001:4860:4860::8888"];

export function nameservers(text: string): readonly string[] {
  return text.split("\n").flatMap((line) => {
    const match = /^\s*nameserver\s+(\S+)/.exec(line);
    const ip = match?.[1]?.replace(/%.*$/, "");
    return ip && isIP(ip) && !isLoopback(ip) ? [ip] : [];
  });
}

/** A loopback server may be anything, also one that asks us; and so may the unspecified address. */
const isLoopback = (ip: string): boolean => ip.startsWith("127.") || ip === "::1" || ip === "0.0.0.0" || ip === "::";

/** Reads the files again when they changed, at most once in five seconds and only when somebody asks. */
export function resolvConf(paths: readonly string[] = files, fallback: readonly string[] = lastResort, now: () => number = Date.now): () => readonly Upstream[] {
  let checked = 0;
  let stamp = "";
  let upstreams: readonly Upstream[] = [];
  const stampOf = (path: string) => {
    const info = statSync(path, { throwIfNoEntry: false });
    return info ? `${info.mtimeMs}:${info.size}:${info.ino}` : "-";
  };
  return () => {
    if (checked && now() - checked < 5000) return upstreams;
    checked = now();
    const seen = paths.map(stampOf).join(" ");
    if (seen === stamp) return upstreams;
    stamp = seen;
    const found = paths.map((path) => nameservers(read(path))).find((list) => list.length) ?? fallback;
    upstreams = found.map((ip) => parseUpstream(ip)!);
    return upstreams;
  };
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
