/** CEL rules of schemas (`x-kubernetes-validations`). */
import type { FieldError } from "@k3s-p/plugin-api/kube";
import type { Node, SchemaProps } from "./schema.ts";

export const validateRules = (_root: Node, _object: object, _old?: object): FieldError[] => [];
export const ruleProblems = (_schema: SchemaProps, _at: string): FieldError[] => [];
