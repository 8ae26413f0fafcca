/** Reads a Corefile: server blocks, their keys and directives, snippets and imports. */

export interface Directive {
  readonly name: string;
  readonly args: readonly string[];
  /** Lines of the block in braces; a nested block is a directive's own `block`. */
  readonly block: readonly Directive[];
  readonly line: number;
}

export interface ServerBlock {
  /** `.:53`, `example.org`, `dns://a.b:53` */
  readonly keys: readonly string[];
  readonly directives: readonly Directive[];
}

interface Token {
  readonly text: string;
  readonly line: number;
  readonly quoted: boolean;
}

/** `read` gives the files that an `import` names, by path or glob; none is fine, as in CoreDNS. */
export function parseCorefile(text: string, read: (pattern: string) => readonly string[] = () => []): readonly ServerBlock[] {
  const snippets = new Map<string, readonly Directive[]>();
  const blocks: ServerBlock[] = [];
  for (const entry of parseLines(text, 0)) {
    const words = [entry.name, ...entry.args];
    if (entry.name === "import") {
      for (const file of read(entry.args[0] ?? "")) blocks.push(...parseCorefile(file, read));
      continue;
    }
    const keys = words.join(" ").split(/[\s,]+/).filter(Boolean);
    const snippet = /^\((.+)\)$/.exec(keys[0]!)?.[1];
    if (snippet) snippets.set(snippet, entry.block);
    else blocks.push({ keys, directives: expand(entry.block, snippets, read, 0) });
  }
  return blocks;
}

function expand(
  directives: readonly Directive[], snippets: ReadonlyMap<string, readonly Directive[]>, read: (pattern: string) => readonly string[], depth: number,
): Directive[] {
  if (depth > 10) throw new SyntaxError("import is nested too deeply");
  return directives.flatMap((directive) => {
    if (directive.name !== "import") return [directive];
    const target = directive.args[0] ?? "";
    const lines = snippets.get(target) ?? read(target).flatMap((file) => parseLines(file, 0));
    return expand(lines, snippets, read, depth + 1);
  });
}

/** One directive a line; a `{` at the end of the line opens its block. */
function parseLines(text: string, depth: number): readonly Directive[] {
  const tokens = tokenize(text);
  let at = 0;

  function lines(level: number): Directive[] {
    const found: Directive[] = [];
    while (at < tokens.length) {
      const first = tokens[at]!;
      if (!first.quoted && first.text === "}") {
        if (level === depth) throw new SyntaxError(`line ${first.line}: unexpected }`);
        at++;
        return found;
      }
      const args: string[] = [];
      let block: Directive[] = [];
      let last = first.line;
      for (at++; at < tokens.length; at++) {
        const token = tokens[at]!;
        if (!token.quoted && token.text === "{") {
          at++;
          block = lines(level + 1);
          break;
        }
        // Keys of a server block may go on in the next line after a comma.
        if (token.line !== last && !(level === depth && args.concat(first.text).at(-1)!.endsWith(","))) break;
        if (!token.quoted && token.text === "}") break;
        last = token.line;
        args.push(token.text);
      }
      found.push({ name: first.text, args, block, line: first.line });
    }
    if (level !== depth) throw new SyntaxError("unexpected end of file: a { is not closed");
    return found;
  }
  return lines(depth);
}

function tokenize(text: string): readonly Token[] {
  const tokens: Token[] = [];
  const pattern = /"((?:\\.|[^"\\])*)"|(#[^\n]*)|(\n)|([^\s"]\S*)/g;
  let line = 1;
  for (const match of text.matchAll(pattern)) {
    const [whole, quoted, comment, newline, word] = match;
    if (quoted !== undefined) tokens.push({ text: quoted.replace(/\\"/g, '"'), line, quoted: true });
    else if (word !== undefined) tokens.push({ text: environment(word), line, quoted: false });
    if (newline !== undefined || (quoted !== undefined && whole.includes("\n"))) line += whole.split("\n").length - 1;
    if (comment !== undefined) continue;
  }
  return tokens;
}

/** `{$NAME}` and `{%NAME%}` */
const environment = (word: string): string =>
  word.replace(/\{\$(\w+)\}|\{%(\w+)%\}/g, (_, unix?: string, windows?: string) => process.env[unix ?? windows ?? ""] ?? "");
