/** `format`: named checks of strings, each of which gives its findings, or none when the text is fine. */
import type { Environment } from "@marcbachmann/cel-js";
import { isFormat } from "../crd/formats.ts";
import { dns1035Label, dns1123Label, dns1123Subdomain, labelValue, qualifiedName } from "../resources/validate/names.ts";
import { optional } from "./engine.ts";

type Check = (text: string) => readonly string[];

/** The library tells types by their classes. */
class Format {
  readonly check: Check;
  constructor(check: Check) { this.check = check; }
}
class FormatFunctions {}

/** A prefix may end where a name must not. */
const asPrefix = (check: Check): Check => (text) => check(text.endsWith("-") ? `${text.slice(0, -1)}a` : text);
const known = (format: string, why: string): Check => (text) => (isFormat(format, text) ? [] : [why]);

const formats: Readonly<Record<string, Check>> = {
  dns1123Label, dns1123Subdomain, dns1035Label, qualifiedName, labelValue,
  dns1123LabelPrefix: asPrefix(dns1123Label), dns1123SubdomainPrefix: asPrefix(dns1123Subdomain), dns1035LabelPrefix: asPrefix(dns1035Label),
  uri: known("uri", "invalid URI"), uuid: known("uuid", "does not match the UUID format"), byte: known("byte", "invalid base64"),
  date: known("date", "invalid date"), datetime: known("datetime", "invalid datetime"),
};

export function registerFormats(environment: Environment): void {
  const instances = new Map(Object.entries(formats).map(([name, check]) => [name, new Format(check)]));
  environment.registerType("Format", Format as never);
  environment.registerType("FormatFunctions", FormatFunctions as never);
  environment.registerConstant("format", "FormatFunctions", new FormatFunctions());
  for (const [name, instance] of instances) environment.registerFunction(`FormatFunctions.${name}(): Format`, () => instance);
  environment.registerFunction("FormatFunctions.named(string): optional<Format>", (_: unknown, name: string) => optional(instances.get(name)) as never);
  environment.registerFunction("Format.validate(string): optional<list<string>>", ({ check }: Format, text: string) => {
    const findings = check(text);
    return optional(findings.length > 0 ? findings : undefined) as never;
  });
}
