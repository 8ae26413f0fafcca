/** Match conditions: CEL expressions that all have to be true for a webhook or a policy to take part. */
import { compile, type Environment, type Program } from "../cel/environment.ts";
import { type Evaluation, requestEnvironment, type Variables } from "./evaluation.ts";

export interface Condition {
  readonly name: string;
  readonly expression: string;
}

/** `error` says why it cannot be told whether the conditions hold, when such a failure must not pass. */
export interface Outcome {
  readonly matches: boolean;
  readonly error?: string;
}

export interface Conditions {
  test(evaluation: Evaluation, variables?: Variables): Outcome;
}

/** The expressions are compiled when they are first needed. A false one decides, whatever the others say. */
export function createConditions(
  conditions: readonly Condition[], isFailClosed: boolean, environment: () => Environment = sharedEnvironment,
): Conditions {
  let programs: readonly (Program | Error)[] | undefined;
  return {
    test(evaluation, variables) {
      programs ??= conditions.map(({ expression }) => compiled(environment(), expression));
      const errors: string[] = [];
      for (const [i, program] of programs.entries()) {
        try {
          if (program instanceof Error) throw program;
          const value = evaluation.run(program, variables);
          if (value === false) return { matches: false };
          if (value !== true) throw new Error("the result is not a bool");
        } catch (error) {
          errors.push(`expression '${conditions[i]!.expression}' resulted in error: ${(error as Error).message}`);
        }
      }
      if (errors.length === 0) return { matches: true };
      return isFailClosed ? { matches: false, error: errors.length === 1 ? errors[0]! : `[${errors.join(", ")}]` } : { matches: false };
    },
  };
}

/** An expression that does not compile is an error wherever it is used. */
export function compiled(environment: Environment, expression: string): Program | Error {
  try {
    return compile(environment, expression);
  } catch (error) {
    return error as Error;
  }
}

let shared: Environment | undefined;
const sharedEnvironment = (): Environment => (shared ??= requestEnvironment());
