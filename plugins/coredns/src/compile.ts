/** Turns a Corefile into handlers, and says which directives it does not know. */
import { createCache } from "./cache.ts";
import { type Directive, parseCorefile, type ServerBlock } from "./corefile.ts";
import { type ForwardOptions, forwardHandler, type Policy } from "./forward.ts";
import type { Handler } from "./handler.ts";
import { hostsHandler } from "./hosts.ts";
import { normalName } from "./records.ts";
import { goRegex, nameRule, type Rewrite, rewriteHandler, templateHandler, typeNumber } from "./rewrite.ts";
import { parseUpstream, type Upstream } from "./upstream.ts";
import { Rcode } from "./wire.ts";
import { type ClusterView, clusterZone } from "./zone.ts";

export interface CompileContext {
  readonly view: ClusterView;
  readonly dnsIps: readonly string[];
  /** Upstreams of the node's resolv.conf. */
  readonly resolvConf: () => readonly Upstream[];
  /** Text of a file below `/etc/coredns`, from the ConfigMaps; undefined when there is none. */
  readonly file: (path: string) => string | undefined;
  /** Files of the ConfigMap `coredns-custom` for an `import`. */
  readonly imports: (pattern: string) => readonly string[];
  readonly onLoop: (upstreams: readonly string[]) => void;
}

export interface CompiledBlock {
  readonly zone: string;
  readonly handlers: readonly Handler[];
  readonly shuffle: boolean;
  /** Whether its figures are served. */
  readonly prometheus: boolean;
}

export interface Compiled {
  /** Longest zone first. */
  readonly blocks: readonly CompiledBlock[];
  readonly warnings: readonly string[];
}

/** Directives whose work is done elsewhere in this process, or has no meaning in it. */
const silent = new Set(["errors", "log", "health", "ready", "prometheus", "reload", "loop", "debug", "cancel", "pprof", "bufsize", "minimal", "any"]);
/** CoreDNS asks its plugins in a fixed order, whatever the order in the file. */
const order = ["rewrite", "template", "hosts", "kubernetes", "forward"];
const MAX_CONCURRENT = 1000;

export function compileCorefile(text: string, context: CompileContext): Compiled {
  const warnings: string[] = [];
  const blocks = parseCorefile(text, context.imports).flatMap((block) =>
    zonesOf(block, warnings).map((zone) => compileBlock(zone, block, context, warnings)));
  blocks.sort((a, b) => b.zone.length - a.zone.length);
  return { blocks, warnings: [...new Set(warnings)] };
}

function zonesOf(block: ServerBlock, warnings: string[]): readonly string[] {
  return block.keys.flatMap((key) => {
    const match = /^(?:(\w+):\/\/)?(.*?)(?::(\d+))?$/.exec(key)!;
    if ((match[1] && match[1] !== "dns") || (match[3] && match[3] !== "53")) {
      warnings.push(`server block ${key}: only DNS on port 53 is served`);
      return [];
    }
    return [normalName(match[2]!)];
  });
}

function compileBlock(zone: string, block: ServerBlock, context: CompileContext, warnings: string[]): CompiledBlock {
  const find = (name: string) => block.directives.filter((directive) => directive.name === name);
  const cacheDirective = find("cache")[0];
  const build: Readonly<Record<string, () => readonly Handler[]>> = {
    rewrite: () => {
      const rewrites = find("rewrite").flatMap((d) => compileRewrite(d, warnings));
      return rewrites.length ? [rewriteHandler(rewrites)] : [];
    },
    template: () => find("template").map((d) => compileTemplate(d, zone)),
    hosts: () => find("hosts").map((d) => compileHosts(d, zone, context, warnings)),
    kubernetes: () => find("kubernetes").map((d) => compileKubernetes(d, zone, context, warnings)),
    forward: () => find("forward").map((d) => compileForward(d, cacheDirective, context, warnings)),
  };
  for (const { name, line } of block.directives) {
    if (!silent.has(name) && !build[name] && name !== "cache" && name !== "loadbalance") {
      warnings.push(`line ${line}: directive "${name}" is not supported and has no effect`);
    }
  }
  return { zone, handlers: order.flatMap((name) => build[name]!()), shuffle: find("loadbalance").length > 0, prometheus: find("prometheus").length > 0 };
}

const zoneList = (args: readonly string[]): readonly string[] => args.map(normalName);
const option = (directive: Directive, name: string): Directive | undefined => directive.block.find((line) => line.name === name);

/** Undefined without the option; every zone when it names none. */
function fallthroughOf(directive: Directive): readonly string[] | undefined {
  const line = option(directive, "fallthrough");
  return line && (line.args.length ? zoneList(line.args) : [""]);
}

function warnUnknown(directive: Directive, known: readonly string[], warnings: string[]): void {
  for (const line of directive.block) {
    if (!known.includes(line.name)) warnings.push(`line ${line.line}: option "${line.name}" of ${directive.name} is not supported and has no effect`);
  }
}

function compileKubernetes(directive: Directive, zone: string, { view, dnsIps }: CompileContext, warnings: string[]): Handler {
  const zones = directive.args.length ? zoneList(directive.args) : [zone];
  const isReverse = (z: string) => z.endsWith("in-addr.arpa") || z.endsWith("ip6.arpa");
  const pods = option(directive, "pods")?.args[0] ?? "disabled";
  if (pods !== "insecure" && pods !== "verified" && pods !== "disabled") throw new SyntaxError(`line ${directive.line}: pods must be disabled, insecure or verified`);
  warnUnknown(directive, ["pods", "fallthrough", "ttl", "endpoint_pod_names"], warnings);
  const ttl = Number(option(directive, "ttl")?.args[0] ?? 5);
  if (!Number.isInteger(ttl) || ttl < 0 || ttl > 3600) throw new SyntaxError(`line ${directive.line}: ttl must be 0 to 3600`);
  return clusterZone(view, {
    domain: zones.find((z) => !isReverse(z)) ?? zone, reverseZones: zones.filter(isReverse), ttl, pods, fallthrough: fallthroughOf(directive), dnsIps,
  });
}

function compileHosts(directive: Directive, zone: string, { file }: CompileContext, warnings: string[]): Handler {
  const options = ["ttl", "no_reverse", "reload", "fallthrough"];
  const path = directive.args[0]?.startsWith("/") ? directive.args[0] : undefined;
  const zones = path ? directive.args.slice(1) : directive.args;
  if (path && !path.startsWith("/etc/coredns/")) warnings.push(`line ${directive.line}: hosts reads files below /etc/coredns only, not ${path}`);
  const inline = directive.block.filter((line) => !options.includes(line.name)).map((line) => [line.name, ...line.args].join(" "));
  return hostsHandler({
    zones: zones.length ? zoneList(zones) : [zone], ttl: Number(option(directive, "ttl")?.args[0] ?? 3600),
    reverse: !option(directive, "no_reverse"), fallthrough: fallthroughOf(directive),
    text: () => (path && file(path)) ?? "", inline: inline.join("\n"),
  });
}

function compileForward(directive: Directive, cache: Directive | undefined, context: CompileContext, warnings: string[]): Handler {
  const [from = ".", ...to] = directive.args;
  const servername = option(directive, "tls_servername")?.args[0];
  const fixed = to.filter((target) => !target.startsWith("/")).map((target) => {
    const upstream = parseUpstream(target, servername);
    if (!upstream) throw new SyntaxError(`line ${directive.line}: forward: "${target}" is not an address`);
    return upstream;
  });
  for (const path of to.filter((target) => target.startsWith("/") && target !== "/etc/resolv.conf")) {
    warnings.push(`line ${directive.line}: forward reads /etc/resolv.conf only, not ${path}`);
  }
  const fromNode = to.includes("/etc/resolv.conf");
  const policy = option(directive, "policy")?.args[0] ?? "random";
  if (!["random", "round_robin", "sequential"].includes(policy)) throw new SyntaxError(`line ${directive.line}: forward: unknown policy "${policy}"`);
  warnUnknown(directive, ["except", "policy", "force_tcp", "prefer_udp", "max_concurrent", "tls_servername", "expire", "max_fails", "health_check"], warnings);
  const options: ForwardOptions = {
    zone: normalName(from), except: zoneList(option(directive, "except")?.args ?? []),
    upstreams: fromNode ? () => [...fixed, ...context.resolvConf()] : () => fixed,
    policy: policy as Policy, forceTcp: Boolean(option(directive, "force_tcp")),
    maxConcurrent: Number(option(directive, "max_concurrent")?.args[0] ?? MAX_CONCURRENT) || MAX_CONCURRENT,
    cache: cache && compileCache(cache, warnings), onLoop: context.onLoop,
  };
  return forwardHandler(options);
}

function compileCache(directive: Directive, warnings: string[]) {
  warnUnknown(directive, ["success", "denial"], warnings);
  const ttl = directive.args.find((arg) => /^\d+$/.test(arg));
  const [success, denial] = [option(directive, "success")?.args ?? [], option(directive, "denial")?.args ?? []];
  return createCache({
    capacity: Number(success[0] ?? 9984),
    positiveTtl: Number(success[1] ?? ttl ?? 3600), negativeTtl: Number(denial[1] ?? ttl ?? 1800),
  });
}

const nameKinds = ["exact", "prefix", "suffix", "substring", "regex"];

function compileRewrite(directive: Directive, warnings: string[]): readonly Rewrite[] {
  const flat = [...directive.args, ...directive.block.flatMap((line) => [line.name, ...line.args])];
  const goesOn = flat[0] === "continue";
  if (flat[0] === "continue" || flat[0] === "stop") flat.shift();
  if (flat.shift() !== "name") {
    warnings.push(`line ${directive.line}: only "rewrite name" is supported`);
    return [];
  }
  const kind = nameKinds.includes(flat[0] ?? "") ? flat.shift()! : "exact";
  const [from, to, ...rest] = flat;
  if (!from || !to) throw new SyntaxError(`line ${directive.line}: rewrite name needs FROM and TO`);
  const answerRules: Rewrite["answerRules"][number][] = [];
  for (let i = 0; i < rest.length; i++) {
    if (rest[i] !== "answer" || rest[i + 1] === "auto") continue;
    if (rest[i + 1] === "name" && rest[i + 3]) answerRules.push(nameRule("regex", rest[i + 2]!, rest[i + 3]!));
    else warnings.push(`line ${directive.line}: "answer ${rest[i + 1]}" of rewrite is not supported and has no effect`);
  }
  return [{ rule: nameRule(kind, from, to), answerRules, goesOn }];
}

function compileTemplate(directive: Directive, zone: string): Handler {
  const [dnsClass = "IN", type = "ANY", ...zones] = directive.args;
  if (!/^(IN|ANY)$/i.test(dnsClass)) throw new SyntaxError(`line ${directive.line}: template class ${dnsClass} is not supported`);
  const number = type.toUpperCase() === "ANY" ? "ANY" : typeNumber(type);
  if (number === undefined) throw new SyntaxError(`line ${directive.line}: template type ${type} is not supported`);
  const lines = (name: string) => directive.block.filter((line) => line.name === name).map((line) => line.args.join(" "));
  const matches = directive.block.filter((line) => line.name === "match").flatMap((line) => line.args).map(goRegex);
  const rcode = lines("rcode")[0]?.toUpperCase();
  const codes: Readonly<Record<string, number>> = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 };
  if (rcode && codes[rcode] === undefined) throw new SyntaxError(`line ${directive.line}: template rcode ${rcode} is not known`);
  return templateHandler({
    type: number, zones: zones.length ? zoneList(zones) : [zone], match: matches.length ? matches : [/.*/],
    answers: lines("answer"), additional: lines("additional"), authority: lines("authority"),
    rcode: rcode ? codes[rcode]! : Rcode.NoError, fallthrough: fallthroughOf(directive),
  });
}
