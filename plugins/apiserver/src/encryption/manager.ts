/**
 * What `k3s-p secrets-encrypt` asks for: K3s's files, its stages, and keys that change while the server runs.
 *
 *   start -> prepare -> rotate -> reencrypt_active -> reencrypt_finished -> prepare ...
 *
 * `rotate_keys` goes all the way at once. A new configuration is on disk before anything is sealed by it, and an old key
 * leaves it when nothing is sealed by that any more, so that a crash at any point leaves every object readable.
 */
import { chmod, mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { k3spError, replaceFileDurably } from "@k3s-p/plugin-api";
import { badRequest } from "@k3s-p/plugin-api/kube";
import { algorithms, type ProviderName } from "./ciphers.ts";
import { checkConfiguration, type EncryptionConfiguration, rulesOf } from "./config.ts";
import { configurationOf, describeKey, hashOf, keyName, newKey, ringOf, type KeyRing } from "./keys.ts";
import type { SwitchableSealer } from "./sealer.ts";

export interface EncryptionOptions {
  readonly files: { readonly config: string; readonly state: string };
  readonly sealer: SwitchableSealer;
  /** `--secrets-encryption`: makes the first key where there is none. */
  readonly isWanted: boolean;
  /** `--secrets-encryption-provider`, for keys to come. */
  readonly provider?: string | undefined;
  /** A configuration of the administrator's own, in place of K3s's. */
  readonly file?: string | undefined;
  readonly now: () => Date;
}

/** As K3s answers it. */
export interface EncryptionState {
  readonly stage: string;
  /** Type and name. */
  readonly activekey: string;
  readonly enable?: boolean;
  readonly hashmatch: boolean;
  readonly hasherror?: string;
  readonly inactivekeys: readonly string[];
}

/** As K3s asks it. */
export interface EncryptionRequest {
  readonly stage?: string;
  readonly enable?: boolean;
  readonly force?: boolean;
  readonly skip?: boolean;
}

export interface Encryption {
  state(): Promise<EncryptionState>;
  /** One after the other. `reseal` writes every Secret again and forgets what was stored before. */
  change(request: EncryptionRequest, reseal: () => Promise<unknown>): Promise<EncryptionState>;
}

type Stage = "start" | "prepare" | "rotate" | "reencrypt_active" | "reencrypt_finished";

/** Reads the files, makes the first key if one is wanted, and lets the sealer use them. */
export async function openEncryption(options: EncryptionOptions): Promise<Encryption> {
  const { files, sealer, now } = options;
  const provider = providerOf(options.provider);
  let ring: KeyRing | undefined;
  let stage: Stage = "start";
  let last: Promise<unknown> = Promise.resolve();

  async function save(next: KeyRing, at: Stage): Promise<void> {
    const text = JSON.stringify(configurationOf(next));
    await mkdir(dirname(files.config), { recursive: true, mode: 0o700 });
    await replaceFileDurably(files.config, text);
    await replaceFileDurably(files.state, `${at}-${hashOf(text)}`);
    sealer.use(rulesOf(configurationOf(next)));
    [ring, stage] = [next, at];
  }

  const foreign = options.file === undefined ? undefined : await readConfiguration(options.file);
  if (options.file !== undefined && !foreign) throw k3spError("K3SP_CONFIG_MISSING", { message: `encryption-provider-config: ${options.file} does not exist`, fix: "name a file with an EncryptionConfiguration" });
  const own = foreign ? undefined : await readConfiguration(files.config);
  if (own) {
    // The keys are for root alone, whoever copied the file here.
    await chmod(files.config, 0o600);
    ring = ringOf(own);
    stage = await readStage(files.state);
  }
  if (foreign ?? own) sealer.use(rulesOf((foreign ?? own)!));
  else if (options.isWanted) await save({ keys: [newKey(provider, keyName(provider))], isEnabled: true }, "start");

  function need(...stages: readonly Stage[]): KeyRing {
    if (!ring) throw badRequest("secrets encryption has no configuration; k3s-p secrets-encrypt enable makes one");
    if (!stages.includes(stage)) throw badRequest(`incorrect stage: ${stage}; expected ${stages.join(" or ")}${stage === "reencrypt_active" ? " (a reencryption was cut off: k3s-p secrets-encrypt reencrypt --force)" : ""}`);
    return ring;
  }

  const fresh = () => newKey(provider, keyName(provider, now()));

  async function reencrypt(keys: KeyRing, reseal: () => Promise<unknown>, keepKeys: boolean): Promise<void> {
    await save(keys, "reencrypt_active");
    await reseal();
    await save(keepKeys ? keys : { ...keys, keys: keys.keys.slice(0, 1) }, "reencrypt_finished");
  }

  async function enter(request: EncryptionRequest, reseal: () => Promise<unknown>): Promise<void> {
    if (foreign) throw badRequest(`the configuration ${options.file} is the administrator's own: edit it and restart the server`);
    const { enable, force = false, skip = false } = request;
    if (enable !== undefined) return save({ keys: ring?.keys ?? [newKey(provider, keyName(provider))], isEnabled: enable }, stage);
    switch (request.stage) {
      case "prepare": {
        const { keys, isEnabled } = need("start", "reencrypt_finished");
        return save({ keys: [...keys, fresh()], isEnabled }, "prepare");
      }
      case "rotate": {
        const { keys, isEnabled } = need("prepare");
        return save({ keys: [keys.at(-1)!, ...keys.slice(0, -1)], isEnabled }, "rotate");
      }
      case "reencrypt_active":
        return reencrypt(force ? need(...allStages) : need("rotate"), reseal, skip);
      case "rotate_keys": {
        const { keys, isEnabled } = need("start", "reencrypt_finished");
        if (!isEnabled) throw badRequest("secrets encryption is disabled, so there is no key to rotate");
        return reencrypt({ keys: [fresh(), ...keys], isEnabled }, reseal, false);
      }
      default:
        throw badRequest(`unknown stage ${JSON.stringify(request.stage)}; expected prepare, rotate, reencrypt_active or rotate_keys`);
    }
  }

  async function state(): Promise<EncryptionState> {
    const shown = foreign ? ringOf(foreign) : ring;
    if (!shown) return { stage, activekey: "", hashmatch: true, inactivekeys: [] };
    const names = shown.keys.map(describeKey).map(({ type, name }) => `${type} ${name}`);
    const active = shown.isEnabled ? names.slice(0, 1) : [];
    const matches = foreign !== undefined || (await isUnchanged(files, stage));
    return {
      stage, activekey: active[0] ?? "", enable: shown.isEnabled, inactivekeys: names.slice(active.length), hashmatch: matches,
      ...(!matches && { hasherror: `${files.config} was changed by hand: restart the server to use it` }),
    };
  }

  return {
    state,
    change(request, reseal) {
      const done = last.then(() => enter(request, reseal)).then(state);
      last = done.catch(() => {});
      return done;
    },
  };
}

const allStages: readonly Stage[] = ["start", "prepare", "rotate", "reencrypt_active", "reencrypt_finished"];

function providerOf(name = "aescbc"): ProviderName {
  if (Object.hasOwn(algorithms, name)) return name as ProviderName;
  throw k3spError("K3SP_FLAG_INVALID", { message: `secrets-encryption-provider: ${JSON.stringify(name)} is not allowed`, detail: [`allowed: ${Object.keys(algorithms).join(", ")}`] });
}

async function readConfiguration(file: string): Promise<EncryptionConfiguration | undefined> {
  const text = await readText(file);
  if (text === undefined) return undefined;
  const { parse } = await import("yaml");
  let value: unknown;
  try {
    value = parse(text);
  } catch (cause) {
    throw k3spError("K3SP_CONFIG_SYNTAX", { message: `${file}: ${(cause as Error).message}`, cause });
  }
  return checkConfiguration(file, value);
}

async function readText(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw k3spError("K3SP_PERMISSION_DENIED", { message: `${file} cannot be read: ${(cause as Error).message}`, cause });
  }
}

async function readStage(file: string): Promise<Stage> {
  const found = ((await readText(file)) ?? "").split("-")[0] as Stage;
  return allStages.includes(found) ? found : "start";
}

/** Whether the configuration on disk is the one that the server wrote. */
async function isUnchanged(files: EncryptionOptions["files"], stage: Stage): Promise<boolean> {
  const [config, state] = await Promise.all([readText(files.config), readText(files.state)]);
  return config !== undefined && (state === undefined || state.trim() === `${stage}-${hashOf(config)}`);
}
