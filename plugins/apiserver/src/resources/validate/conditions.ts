/** Validation of the conditions that many kinds carry in their status. */
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, invalidValue, notSupported, required, tooLong } from "./field.ts";
import { qualifiedName } from "./names.ts";

const statuses = ["False", "True", "Unknown"];
const MAX_REASON = 1024;
const MAX_MESSAGE = 32 * 1024;
const REASON = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?";
const isReason = new RegExp(`^${REASON}$`);
const REASON_PROBLEM = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', " +
  `and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '${REASON}')`;

/** Each type once, with a status, a time and a reason. */
export function validateConditions(at: string, conditions: readonly Obj[]): FieldError[] {
  return conditions.flatMap((condition, i) => {
    const isRepeated = conditions.findIndex(({ type }) => type === condition.type) < i;
    return [...(isRepeated ? [duplicate(`${at}[${i}].type`, condition.type)] : []), ...validateCondition(`${at}[${i}]`, condition)];
  });
}

function validateCondition(at: string, { type = "", status = "", observedGeneration, lastTransitionTime, reason = "", message = "" }: Obj): FieldError[] {
  const errors = qualifiedName(type).map((why) => invalidValue(`${at}.type`, type, why));
  if (!statuses.includes(status)) errors.push(notSupported(`${at}.status`, status, statuses));
  if (observedGeneration < 0) errors.push(invalidValue(`${at}.observedGeneration`, observedGeneration, "must be greater than or equal to zero"));
  if (!lastTransitionTime) errors.push(required(`${at}.lastTransitionTime`, "must be set"));
  if (reason === "") errors.push(required(`${at}.reason`, "must be set"));
  else if (!isReason.test(reason)) errors.push(invalidValue(`${at}.reason`, reason, REASON_PROBLEM));
  if (Buffer.byteLength(reason) > MAX_REASON) errors.push(tooLong(`${at}.reason`, MAX_REASON));
  return Buffer.byteLength(message) > MAX_MESSAGE ? [...errors, tooLong(`${at}.message`, MAX_MESSAGE)] : errors;
}
