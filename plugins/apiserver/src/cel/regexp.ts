/** Regular expressions in Go's syntax (RE2), as JavaScript has them. */

const posix: Readonly<Record<string, string>> = {
  alnum: "0-9A-Za-z", alpha: "A-Za-z", ascii: "\\x00-\\x7F", blank: "\\t ", cntrl: "\\x00-\\x1F\\x7F", digit: "0-9",
  graph: "!-~", lower: "a-z", print: " -~", punct: "!-\\/:-@\\[-`{-~", space: "\\t\\n\\v\\f\\r ", upper: "A-Z", word: "0-9A-Za-z_",
  xdigit: "0-9A-Fa-f",
};

/** Throws a SyntaxError when neither syntax has such a pattern. */
export function goRegExp(source: string): RegExp {
  const text = translate(source);
  try {
    return new RegExp(text, "u");
  } catch {
    // Escapes that only the lenient mode takes, such as `\_` or `\-` outside a class.
    return new RegExp(text);
  }
}

const rules: readonly (readonly [RegExp, (match: RegExpExecArray) => string])[] = [
  [/\\Q([^]*?)(?:\\E|$)/y, ([, text]) => text!.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")],
  [/\\A/y, () => "^"],
  [/\\z/y, () => "$"],
  [/\\a/y, () => "\\x07"],
  [/\\([pP])([A-Z])/y, ([, sign, name]) => `\\${sign}{${name}}`],
  [/\\([pP])\{(\^?)([A-Za-z_]+)\}/y, ([, sign, not, name]) => {
    const positive = (sign === "p") === (not === "");
    return `\\${positive ? "p" : "P"}{${name!.length > 2 ? `Script=${name}` : name}}`;
  }],
  [/\\x\{([0-9A-Fa-f]+)\}/y, ([, code]) => `\\u{${code}}`],
  [/\\[^]/y, ([text]) => text],
];

function translate(source: string): string {
  let out = "";
  /** Inline flags that hold until the end of the open group, one list a group. */
  const open: number[] = [0];
  for (let at = 0; at < source.length;) {
    const escape = matchRule(source, at);
    if (escape) {
      out += escape.text;
      at = escape.end;
      continue;
    }
    const char = source[at]!;
    if (char === "[") {
      const end = classEnd(source, at);
      out += classText(source.slice(at, end));
      at = end;
      continue;
    }
    const flags = /\(\?([ims]*)(?:-([ims]+))?\)/y;
    flags.lastIndex = at;
    const inline = flags.exec(source);
    if (inline) {
      out += `(?${inline[1]}${inline[2] ? `-${inline[2]}` : ""}:`;
      open[open.length - 1]!++;
      at = flags.lastIndex;
      continue;
    }
    if (source.startsWith("(?P<", at)) {
      out += "(?<";
      open.push(0);
      at += 4;
      continue;
    }
    if (char === "(") open.push(0);
    if (char === ")") out += ")".repeat(open.pop() ?? 0);
    out += char;
    at++;
  }
  return out + ")".repeat(open.reduce((sum, count) => sum + count, 0));
}

function matchRule(source: string, at: number): { readonly text: string; readonly end: number } | undefined {
  if (source[at] !== "\\") return undefined;
  for (const [pattern, write] of rules) {
    pattern.lastIndex = at;
    const match = pattern.exec(source);
    if (match) return { text: write(match), end: pattern.lastIndex };
  }
  return undefined;
}

/** Index after the `]` of a class; a `]` that comes first is a member. */
function classEnd(source: string, start: number): number {
  let at = start + 1;
  if (source[at] === "^") at++;
  if (source[at] === "]") at++;
  for (; at < source.length && source[at] !== "]"; at++) {
    if (source[at] === "\\") at++;
    else if (source.startsWith("[:", at)) at = Math.max(at, source.indexOf(":]", at) + 1);
  }
  return at + 1;
}

function classText(text: string): string {
  const negated = text.startsWith("[^");
  const members = text.slice(negated ? 2 : 1, -1)
    .replace(/^\]/, "\\]")
    .replace(/\[:(\^?)(\w+):\]/g, (whole, not: string, name: string) => (posix[name] && !not ? posix[name] : whole))
    .replace(/\\[^]|\[/g, (part) => (part === "[" ? "\\[" : part));
  return `[${negated ? "^" : ""}${members}]`;
}
