/** Typed constructors of mutation expressions (`Object.spec{replicas: 1}`, `JSONPatch{op: "add"}`) as maps with text keys. */

const token = /"""[^]*?"""|'''[^]*?'''|"(?:\\[^]|[^"\\])*"|'(?:\\[^]|[^'\\])*'|\/\/[^\n]*|(?<![\w.])(?:Object(?:\.\w+)*|JSONPatch)\s*\{|[([{}\])]|,|\w+|`[^`\n]*`/g;

/** Expressions without constructors come back as they are. */
export function withoutConstructors(expression: string): string {
  if (!/\b(?:Object|JSONPatch)\b/.test(expression)) return expression;
  /** What is open at a place; in a constructor a name may follow. */
  const open: ("constructor" | "other")[] = [];
  let expectsName = false;
  return expression.replace(token, (text, at: number) => {
    if (/^(?:Object|JSONPatch)\b[^]*\{$/.test(text)) {
      open.push("constructor");
      expectsName = true;
      return "{";
    }
    if ("([{".includes(text)) open.push("other");
    else if (")]}".includes(text)) open.pop();
    else if (text !== "," && expectsName && isFollowedByColon(expression, at + text.length)) {
      expectsName = false;
      return JSON.stringify(text.replaceAll("`", ""));
    }
    expectsName = text === "," && open.at(-1) === "constructor";
    return text;
  });
}

const isFollowedByColon = (expression: string, at: number): boolean => /^\s*:/.test(expression.slice(at, at + 64));
