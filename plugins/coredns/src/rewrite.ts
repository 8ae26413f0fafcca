/** The directives `rewrite name` and `template`: answers under other names, and answers made of the question. */
import type { Handler, Question, Reply, Resolve } from "./handler.ts";
import { address, answerOf, cname, inZone, mx, normalName, ns, ptr, srv, txt } from "./records.ts";
import { Rcode, type Rr, Type } from "./wire.ts";

export type NameRule = (name: string) => string | undefined;

export interface Rewrite {
  readonly rule: NameRule;
  /** Further rules for the names in the answer (`answer name`). */
  readonly answerRules: readonly NameRule[];
  /** Whether the next rewrites see the new name too. */
  readonly goesOn: boolean;
}

export function nameRule(kind: string, from: string, to: string): NameRule {
  const [left, right] = [normalName(from), normalName(to)];
  switch (kind) {
    case "exact": return (name) => (name === left ? right : undefined);
    case "prefix": return (name) => (name.startsWith(from.toLowerCase()) ? to.toLowerCase() + name.slice(from.length) : undefined);
    case "suffix": {
      const [tail, next] = [from.toLowerCase().replace(/\.$/, ""), to.toLowerCase().replace(/\.$/, "")];
      return (name) => (name.endsWith(tail) ? name.slice(0, name.length - tail.length) + next : undefined);
    }
    case "substring": return (name) => (name.includes(left) ? name.replaceAll(left, right) : undefined);
    case "regex": {
      const regex = goRegex(from);
      return (name) => {
        // Patterns are written for names with or without their final dot.
        const match = regex.exec(`${name}.`) ?? regex.exec(name);
        return match ? normalName(to.replace(/\{(\d+)\}/g, (_, i: string) => match[Number(i)] ?? "")) : undefined;
      };
    }
    default: throw new SyntaxError(`rewrite name ${kind} is not supported`);
  }
}

/** Puts the question under the other name, and the answer back under the client's. */
export function rewriteHandler(rewrites: readonly Rewrite[]): Handler {
  return {
    name: "rewrite",
    answer(question, resolve) {
      if (question.rewritten) return undefined;
      let name = question.name;
      const answerRules: NameRule[] = [];
      for (const { rule, answerRules: more, goesOn } of rewrites) {
        const renamed = rule(name);
        if (renamed === undefined) continue;
        name = renamed;
        answerRules.push(...more);
        if (!goesOn) break;
      }
      if (name === question.name) return undefined;
      const reply = resolve({ ...question, name, depth: question.depth + 1, rewritten: true });
      return reply instanceof Promise ? reply.then((r) => restore(question, name, answerRules, r)) : restore(question, name, answerRules, reply);
    },
  };
}

function restore(question: Question, asked: string, answerRules: readonly NameRule[], reply: Reply): Reply {
  const rename = (name: string): string => {
    const lower = name.toLowerCase();
    if (lower === asked) return question.name;
    return answerRules.map((back) => back(lower)).find((renamed) => renamed !== undefined) ?? name;
  };
  return { ...reply, answers: reply.answers.map((rr) => ({ ...rr, name: rename(rr.name) })) };
}

export interface TemplateOptions {
  readonly type: number | "ANY";
  readonly zones: readonly string[];
  readonly match: readonly RegExp[];
  readonly answers: readonly string[];
  readonly additional: readonly string[];
  readonly authority: readonly string[];
  readonly rcode: number;
  readonly fallthrough: readonly string[] | undefined;
}

export function templateHandler(options: TemplateOptions): Handler {
  return {
    name: "template",
    answer({ name, type }: Question, _resolve: Resolve) {
      const zone = options.zones.find((z) => inZone(name, z));
      if (zone === undefined || (options.type !== "ANY" && options.type !== type)) return undefined;
      const match = options.match.map((regex) => regex.exec(`${name}.`)).find(Boolean);
      if (!match) return options.fallthrough?.some((z) => inZone(name, z)) ?? true ? undefined : answerOf([], { rcode: Rcode.NxDomain });
      const fill = (lines: readonly string[]) => lines.map((line) => parseRecord(expandTemplate(line, name, zone, type, match)));
      return answerOf(fill(options.answers), { rcode: options.rcode, additional: fill(options.additional), authority: fill(options.authority) });
    },
  };
}

/** The part of Go's template language that DNS templates use: fields, groups and `index .Match n`. */
function expandTemplate(text: string, name: string, zone: string, type: number, match: RegExpExecArray): string {
  return text.replace(/\{\{-?\s*(.*?)\s*-?\}\}/g, (_, expression: string) => {
    const group = /^\.Group\.(\w+)$/.exec(expression)?.[1] ?? /^index \.Group "(\w+)"$/.exec(expression)?.[1];
    if (group !== undefined) return match.groups?.[group] ?? match[Number(group)] ?? "";
    const index = /^index \.Match (\d+)$/.exec(expression)?.[1];
    if (index !== undefined) return match[Number(index)] ?? "";
    const fields: Readonly<Record<string, string>> = { ".Name": `${name}.`, ".Zone": `${zone}.`, ".Class": "IN", ".Type": typeName(type) };
    const value = fields[expression];
    if (value === undefined) throw new SyntaxError(`template expression {{ ${expression} }} is not supported`);
    return value;
  });
}

export const typeName = (type: number): string => Object.entries(Type).find(([, value]) => value === type)?.[0] ?? `TYPE${type}`;
export const typeNumber = (name: string): number | undefined => (Type as Readonly<Record<string, number>>)[name.toUpperCase()];

const recordTypes: Readonly<Record<string, (name: string, ttl: number, data: readonly string[]) => Rr>> = {
  A: (name, ttl, [ip = ""]) => address(name, ttl, ip),
  AAAA: (name, ttl, [ip = ""]) => address(name, ttl, ip),
  CNAME: (name, ttl, [target = ""]) => cname(name, ttl, normalName(target)),
  PTR: (name, ttl, [target = ""]) => ptr(name, ttl, normalName(target)),
  NS: (name, ttl, [target = ""]) => ns(name, ttl, normalName(target)),
  MX: (name, ttl, [preference, target = ""]) => mx(name, ttl, Number(preference), normalName(target)),
  SRV: (name, ttl, [priority, weight, port, target = ""]) => srv(name, ttl, Number(weight), Number(port), normalName(target), Number(priority)),
  TXT: (name, ttl, texts) => txt(name, ttl, ...texts.map((text) => text.replace(/^"|"$/g, ""))),
};

/** `name [ttl] [class] TYPE data...`, as in a zone file. */
function parseRecord(text: string): Rr {
  const words = text.match(/"[^"]*"|\S+/g) ?? [];
  const name = normalName(words.shift() ?? "");
  let ttl = 3600;
  for (; words.length; words.shift()) {
    if (/^\d+$/.test(words[0]!)) ttl = Number(words[0]);
    else if (!/^(IN|ANY)$/i.test(words[0]!)) break;
  }
  const build = recordTypes[(words.shift() ?? "").toUpperCase()];
  if (!build || !words.length) throw new SyntaxError(`"${text}" is not a record that can be answered`);
  return build(name, ttl, words);
}

/** Go's regular expressions in JavaScript: named groups and leading flags are spelled otherwise. */
export function goRegex(pattern: string): RegExp {
  const flags = /^\(\?([ims]+)\)/.exec(pattern);
  const body = (flags ? pattern.slice(flags[0].length) : pattern).replaceAll("(?P<", "(?<");
  return new RegExp(body, flags?.[1] ?? "");
}
