/** ConfigMaps, Secrets and ServiceAccounts. */
import { badRequest } from "@k3s-p/plugin-api/kube";
import type { Behaviour } from "../row.ts";
import type { Obj } from "../types.ts";
import { configMapColumns, secretColumns, serviceAccountColumns } from "./columns.ts";
import { defaultSecret } from "./defaults.ts";
import { validateConfigMap, validateConfigMapUpdate, validateSecret, validateSecretUpdate } from "./validate-config.ts";

export const configMap: Behaviour = { columns: configMapColumns, validate: validateConfigMap, validateUpdate: validateConfigMapUpdate };

export const secret: Behaviour = {
  columns: secretColumns,
  defaults: (object) => {
    checkEncoding(object);
    encodeStringData(object);
    defaultSecret(object);
  },
  prepareUpdate: (object, old) => {
    object.type ||= old.type;
  },
  validate: validateSecret,
  validateUpdate: validateSecretUpdate,
  selectableFields: { type: (o) => o.type ?? "" },
};

const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Bytes travel as base64; anything else is no Secret at all. */
function checkEncoding(object: Obj): void {
  for (const value of Object.values(object.data ?? {})) {
    const text = typeof value === "string" ? value.replace(/[\r\n]/g, "") : "";
    if (base64.test(text)) continue;
    const position = /[^A-Za-z0-9+/]/.exec(text)?.index ?? text.length;
    throw badRequest(`Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte ${position}`);
  }
}

/** `stringData` is write-only: its entries replace those of `data`. */
function encodeStringData(object: Obj): void {
  const { stringData } = object;
  delete object.stringData;
  if (typeof stringData !== "object" || stringData === null) return;
  object.data ??= {};
  for (const [key, value] of Object.entries(stringData)) object.data[key] = Buffer.from(String(value)).toString("base64");
}

export const serviceAccount: Behaviour = { columns: serviceAccountColumns };
