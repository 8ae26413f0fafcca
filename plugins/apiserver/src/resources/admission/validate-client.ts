/** Validation of where a webhook is reached. */
import { isObject } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, invalidValue, required } from "../validate/field.ts";
import { dns1123Subdomain, portNumber } from "../validate/names.ts";

const FORM = "; desired format: https://host[/path]";

export function validateClient(at: string, config: unknown): FieldError[] {
  const { url, service } = isObject(config) ? config : {};
  if ((url == null) === !isObject(service)) return [required(at, "exactly one of url or service is required")];
  return url == null ? validateService(`${at}.service`, service) : validateUrl(`${at}.url`, url);
}

/** Taken apart as Go does it, which finds parts in nearly every text. */
function validateUrl(field: string, text: string): FieldError[] {
  const [, scheme = "", authority = "", , query = "", fragment = ""] = /^(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?$/s.exec(text) ?? [];
  const at = authority.lastIndexOf("@");
  const host = authority.slice(at + 1);
  return [
    ...(scheme.toLowerCase() === "https" ? [] : [invalidValue(field, scheme, `'https' is the only allowed URL scheme${FORM}`)]),
    ...(host ? [] : [invalidValue(field, host, `host must be specified${FORM}`)]),
    ...(at < 0 ? [] : [invalidValue(field, authority.slice(0, at), "user information is not permitted in the URL")]),
    ...(fragment ? [invalidValue(field, fragment, "fragments are not permitted in the URL")] : []),
    ...(query ? [invalidValue(field, query, "query parameters are not permitted in the URL")] : []),
  ];
}

function validateService(at: string, { name, namespace, port, path }: Obj): FieldError[] {
  const errors = Object.entries({ name, namespace }).filter(([, value]) => !value).map(([field]) => required(`${at}.${field}`, `service ${field} is required`));
  const problems = port == null ? [] : portNumber(port);
  if (problems.length > 0) errors.push(invalidValue(`${at}.port`, port, `port is not valid: ${problems.join(",")}`));
  return [...errors, ...validatePath(`${at}.path`, path ?? "")];
}

function validatePath(field: string, path: string): FieldError[] {
  if (path === "" || path === "/") return [];
  if (path === "//") return [invalidValue(field, path, "segment[0] may not be empty")];
  const errors = path.startsWith("/") ? [] : [invalidValue(field, path, "must start with a '/'")];
  const segments = path.slice(1).replace(/\/$/, "").split("/");
  return [...errors, ...segments.flatMap((segment, i) => (segment === "" ? [invalidValue(field, path, `segment[${i}] may not be empty`)]
    : dns1123Subdomain(segment).map((why) => invalidValue(field, path, `segment[${i}]: ${why}`))))];
}
