/** What does not decode as its kind: 400 for a body, and 422 for what a patch makes of an object. */
import { ApiError, apiError, badRequest, type PatchType } from "@k3s-p/plugin-api/kube";
import type { Obj, ResourceDef } from "../resources/types.ts";

type Form = Pick<ResourceDef, "version" | "kind">;

/** The same in the words of upstream's other decoders. */
export interface OtherWords {
  /** Of strategic merge patches. */
  readonly whyFromMap?: string | undefined;
  /** Of server-side apply, with the path of the field, such as `spec.containers[0].image`. */
  readonly untyped?: { readonly path: string; readonly why: string } | undefined;
}

/** 400 of a body; `why` is the decoder's reason. */
export class Undecodable extends ApiError {
  readonly why: string;
  readonly other: OtherWords;
  constructor({ version, kind }: Form, why: string, other: OtherWords = {}) {
    super(badRequest(`${kind} in version ${JSON.stringify(version)} cannot be handled as a ${kind}: ${why}`).status);
    this.why = why;
    this.other = other;
  }
}

/** For `fieldValidation: Strict`; findings such as `unknown field "spec.foo"`. */
export const strictError = (form: Form, findings: readonly string[]): Undecodable =>
  new Undecodable(form, `strict decoding error: ${findings.join(", ")}`);

type Patch = { readonly type: PatchType; readonly patch: unknown };

/** Checks what a patch has made of an object. */
export function checkPatched(input: Patch, made: Obj, check: (made: Obj) => Obj): Obj {
  try {
    return check(made);
  } catch (error) {
    throw error instanceof Undecodable ? invalidPatch(input, made, error) : error;
  }
}

/** Names no object, as upstream: the patch is at fault. */
function invalidPatch({ type, patch }: Patch, made: Obj, { why, other }: Undecodable): ApiError {
  const [value, reason] = type === "strategic" ? [goText(patch), other.whyFromMap ?? why] : [JSON.stringify(made), why];
  const message = `Invalid value: ${JSON.stringify(value)}: ${reason}`;
  return apiError(422, "Invalid", ` "" is invalid: patch: ${message}`, { causes: [{ reason: "FieldValueInvalid", message, field: "patch" }] });
}

/** As Go prints maps and lists. */
export function goText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(goText).join(" ")}]`;
  if (value === null) return "<nil>";
  if (typeof value !== "object") return String(value);
  const entries = Object.entries(value as object).sort(([a], [b]) => (a < b ? -1 : 1));
  return `map[${entries.map(([key, item]) => `${key}:${goText(item)}`).join(" ")}]`;
}
