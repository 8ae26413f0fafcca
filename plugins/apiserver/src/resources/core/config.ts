/** ConfigMaps, Secrets and ServiceAccounts. */
import type { Behaviour } from "../row.ts";
import type { Obj } from "../types.ts";
import { configMapColumns, secretColumns, serviceAccountColumns } from "./columns.ts";
import { defaultSecret } from "./defaults.ts";
import { validateConfigMap, validateConfigMapUpdate, validateSecret, validateSecretUpdate } from "./validate-config.ts";

export const configMap: Behaviour = { columns: configMapColumns, validate: validateConfigMap, validateUpdate: validateConfigMapUpdate };

export const secret: Behaviour = {
  columns: secretColumns,
  defaults: (object) => {
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

/** `stringData` is write-only: its entries replace those of `data`. */
function encodeStringData(object: Obj): void {
  const { stringData } = object;
  delete object.stringData;
  if (typeof stringData !== "object" || stringData === null) return;
  object.data ??= {};
  for (const [key, value] of Object.entries(stringData)) object.data[key] = Buffer.from(String(value)).toString("base64");
}

const MOUNTABLE = "kubernetes.io/enforce-mountable-secrets";

/** Secrets of an account are in its own namespace: nothing but their names is kept. */
function keepSecretNames(account: Obj): void {
  if (Array.isArray(account.secrets)) account.secrets = account.secrets.map(({ name }: Obj) => (name ? { name } : {}));
}

export const serviceAccount: Behaviour = {
  columns: serviceAccountColumns,
  prepareCreate: keepSecretNames,
  prepareUpdate: keepSecretNames,
  warnings: ({ metadata }) => (metadata?.annotations?.[MOUNTABLE] === "true"
    ? [`metadata.annotations[${MOUNTABLE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets`] : []),
};
