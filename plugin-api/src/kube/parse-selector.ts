/** The query form of label and field selectors; what is wrong with one is told in upstream's words. */
import type { Requirement } from "./selectors.ts";

/** A key, a value or an operator; the empty text is the end. */
interface Token {
  readonly text: string;
  readonly isWord: boolean;
}

/** Takes tokens one after the other; past the last one it is at the end. */
interface Tokens {
  readonly peek: () => Token;
  readonly take: () => Token;
}

/** Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k`; throws SyntaxError on bad text. */
export function parseLabelSelector(text: string): readonly Requirement[] {
  const tokens = tokensOf(text);
  const requirements: Requirement[] = [];
  for (;;) {
    const first = tokens.peek();
    if (isEnd(first)) return requirements;
    if (!isStart(first)) throw unexpected(first, ", expected: !, identifier, or 'end of string'");
    requirements.push(parseRequirement(tokens));
    const next = tokens.take();
    if (isEnd(next)) return requirements;
    if (next.text !== ",") throw unexpected(next, ", expected: ',' or 'end of string'");
    if (!isStart(tokens.peek())) throw unexpected(tokens.peek(), ", expected: identifier after ','");
  }
}

const isEnd = (token: Token): boolean => token.text === "";
const isStart = (token: Token): boolean => token.isWord || token.text === "!";
const unexpected = (token: Token, rest: string): SyntaxError => new SyntaxError(`found '${token.text}'${rest}`);

function tokensOf(text: string): Tokens {
  const found = text.matchAll(/(?<word>[^\s=!(),<>]+)|==|!=|[=!(),<>]/g);
  const tokens = [...found].map((match): Token => ({ text: match[0], isWord: match.groups!["word"] !== undefined }));
  let at = 0;
  const peek = (): Token => tokens[at] ?? { text: "", isWord: false };
  const take = (): Token => {
    const token = peek();
    at++;
    return token;
  };
  return { peek, take };
}

const operators: Readonly<Record<string, Requirement["operator"]>> = {
  in: "In", notin: "NotIn", "=": "In", "==": "In", "!=": "NotIn", ">": "Gt", "<": "Lt",
};

function parseRequirement(tokens: Tokens): Requirement {
  try {
    const isAbsent = tokens.peek().text === "!";
    if (isAbsent) tokens.take();
    const key = tokens.take();
    if (!key.isWord) throw unexpected(key, ", expected: identifier");
    checkKey(key.text);
    const next = tokens.peek();
    if (isAbsent || isEnd(next) || next.text === ",") return { key: key.text, operator: isAbsent ? "DoesNotExist" : "Exists", values: [] };
    const operator = Object.hasOwn(operators, next.text) ? operators[next.text] : undefined;
    if (!operator) throw unexpected(next, ", expected: in, notin, =, ==, !=, gt, lt");
    tokens.take();
    const values = next.isWord ? parseValues(tokens) : [parseValue(tokens)];
    checkValues(key.text, operator, values);
    return { key: key.text, operator, values };
  } catch (error) {
    throw new SyntaxError(`unable to parse requirement: ${(error as Error).message}`, { cause: error });
  }
}

function parseValue(tokens: Tokens): string {
  const next = tokens.peek();
  if (isEnd(next) || next.text === ",") return "";
  if (!next.isWord) throw unexpected(next, ", expected: identifier");
  return tokens.take().text;
}

/** What is in parentheses, where nothing between commas is the empty value; each once, sorted. */
function parseValues(tokens: Tokens): string[] {
  const open = tokens.take();
  if (open.text !== "(") throw unexpected(open, " expected: '('");
  const first = tokens.peek();
  if (!first.isWord && first.text !== "," && first.text !== ")") throw unexpected(first, ", expected: ',', ')' or identifier");
  const values = new Set<string>();
  for (;;) {
    const isWord = tokens.peek().isWord;
    values.add(isWord ? tokens.take().text : "");
    const next = tokens.take();
    if (next.text === ")") return [...values].sort();
    if (next.text !== ",") throw unexpected(next, isWord ? ", expected: ',' or ')'" : ", expected: ',', or identifier");
  }
}

const QUALIFIED = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const SUBDOMAIN = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const nameExamples = `(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '${NAME}')`;
const [namePattern, valuePattern, subdomainPattern] = [NAME, `(${NAME})?`, SUBDOMAIN].map((source) => new RegExp(`^(?:${source})$`)) as [RegExp, RegExp, RegExp];

function checkKey(key: string): void {
  const [name, prefix, ...more] = key.split("/").reverse() as [string, string?, ...string[]];
  const problems: string[] = [];
  if (more.length > 0) problems.push(`a qualified name ${QUALIFIED} ${nameExamples} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`);
  else {
    if (prefix === "") problems.push("prefix part must be non-empty");
    else if (prefix !== undefined) {
      problems.push(...tooLong(prefix, 253).map((why) => `prefix part ${why}`));
      if (!subdomainPattern.test(prefix)) {
        problems.push("prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character " +
          `(e.g. 'example.com', regex used for validation is '${SUBDOMAIN}')`);
      }
    }
    if (name === "") problems.push("name part must be non-empty");
    problems.push(...tooLong(name, 63).map((why) => `name part ${why}`));
    if (!namePattern.test(name)) problems.push(`name part ${QUALIFIED} ${nameExamples}`);
  }
  if (problems.length > 0) throw new SyntaxError(`<nil>: Invalid value: ${JSON.stringify(key)}: ${problems.join("; ")}`);
}

const tooLong = (text: string, max: number): string[] => (text.length > max ? [`must be no more than ${max} bytes`] : []);

function checkValues(key: string, operator: Requirement["operator"], values: readonly string[]): void {
  const isOrder = operator === "Gt" || operator === "Lt";
  const problems = [
    ...values.flatMap((value, i) => (isOrder && !/^[-+]?\d+$/.test(value)
      ? [`values[${i}]: Invalid value: ${JSON.stringify(value)}: for 'Gt', 'Lt' operators, the value must be an integer`] : [])),
    ...values.flatMap((value, i) => {
      const wrong = tooLong(value, 63);
      if (!valuePattern.test(value)) {
        wrong.push(`a valid label must be an empty string or ${QUALIFIED.slice("must ".length)} ` +
          `(e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(${NAME})?')`);
      }
      return wrong.length > 0 ? [`values[${i}][${key}]: Invalid value: ${JSON.stringify(value)}: ${wrong.join("; ")}`] : [];
    }),
  ];
  if (problems.length > 0) throw new SyntaxError(problems.length === 1 ? problems[0]! : `[${problems.join(", ")}]`);
}

export interface FieldRequirement {
  readonly path: string;
  readonly equal: boolean;
  readonly value: string;
}

/** Parses `metadata.name=a,status.phase!=Running`; a backslash stands before `,`, `=` and itself in values. */
export function parseFieldSelector(text: string): readonly FieldRequirement[] {
  const terms = text.match(/(?:\\.|[^\\,]|\\$)+/gs) ?? [];
  return terms.map((term) => {
    const match = /^(.*?)(!=|==|=)(.*)$/s.exec(term);
    if (!match) throw new SyntaxError(`invalid selector: '${text}'; can't understand '${term}'`);
    return { path: match[1]!, equal: match[2] !== "!=", value: unescaped(match[3]!) };
  });
}

const unescaped = (value: string): string => value.replace(/\\(.?)|=/gs, (found, escaped: string | undefined) => {
  if (found === "=") throw new SyntaxError(`invalid field selector: unescaped character in value: ${"=".charCodeAt(0)}`);
  if (!escaped || !"\\,=".includes(escaped)) throw new SyntaxError(`invalid field selector: invalid escape sequence: ${found}`);
  return escaped;
});
