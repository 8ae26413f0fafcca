/** The deploy controller: manifest files in, AddOns and their objects out. */
import { createHash } from "node:crypto";
import { chmod, lstat, mkdir, readFile, realpath, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { replaceFile, type Logger } from "@k3s-p/plugin-api";
import { type EventRecorder, isNotFound, type KubeClient, type KubeObject, workQueue } from "@k3s-p/plugin-api/kube";
import type { Addon, Deployer } from "@k3s-p/plugin-api/slots";
import { ADDON_NAMESPACE, type AddonObject, addonOwner, addons, GVKS_ANNOTATION } from "./addon.ts";
import { type Applier, createApplier, type Failure } from "./apply.ts";
import { addonNameOf, isDisabled, scan, watchDirectories } from "./files.ts";
import { createDiscovery, formatGvks, type Gvk, gvkOf, parseGvks } from "./gvk.ts";
import { parseManifest, substitute } from "./manifest.ts";

export interface ControllerOptions {
  readonly client: KubeClient;
  readonly recorder: EventRecorder;
  readonly log: Logger;
  /** `server/manifests` */
  readonly root: string;
  readonly disabled: readonly string[];
  readonly variables: Readonly<Record<string, string>>;
  /** Milliseconds between full scans, the safety net below the file notifications. */
  readonly scanInterval?: number;
  /** First and longest delay of a retry, milliseconds. */
  readonly backoff?: readonly [number, number];
}

export interface Controller extends Deployer {
  start(): Promise<void>;
  stop(): Promise<void>;
  /** A plugin is gone: its addon goes too, and stays away until a plugin deploys it again. */
  retire(plugin: string): Promise<void>;
  /** Files whose last attempt failed, with the reason. */
  readonly failing: ReadonlyMap<string, string>;
}

interface Waiter {
  resolve(): void;
  reject(error: Error): void;
}

/** An editor or `cp` writes in several steps; a file is read when it has been quiet for so long. */
const DEBOUNCE = 150;
const SCAN_INTERVAL = 60_000;
/** A file that the server refuses is tried again now and then: policies and quotas change. */
const REFUSED_RETRY = 300_000;
/** Attempts that may fail for a passing reason before somebody is told: about half a second. */
const PATIENCE = 5;
const REMOVE = "remove\0";

const stoppingError = (): Error => new Error("the deployer is stopping");

export function createController(options: ControllerOptions): Controller {
  const { client, recorder, log, root, variables, scanInterval = SCAN_INTERVAL, backoff = [25, 60_000] } = options;
  let { disabled } = options;
  const retired = new Set<string>();
  const applier = createApplier(client, createDiscovery(client));
  const stamps = new Map<string, string>();
  /** Path that an AddOn name belongs to; a second file of the same name would prune the first one's objects. */
  const owners = new Map<string, string>();
  const forced = new Set<string>();
  /** Files of an earlier start that no plugin has deployed yet in this one: the start applies them already. */
  const awaited = new Set<string>();
  const waiters = new Map<string, Waiter[]>();
  const failing = new Map<string, string>();
  const attempts = new Map<string, number>();
  const queue = workQueue({
    name: "deployer", backoff,
    reconcile: (key) => (key.startsWith(REMOVE) ? removeAddon(key.slice(REMOVE.length)) : applyFile(key)),
    onError: (key, error, retries) => log.debug({ key, retries, err: error }, "will be tried again"),
  });
  const watcher = watchDirectories(() => soon());
  let debounce: NodeJS.Timeout | undefined;
  let slow: NodeJS.Timeout | undefined;
  let stopping = false;

  function soon(): void {
    clearTimeout(debounce);
    if (stopping) return;
    debounce = setTimeout(() => void rescan(false), DEBOUNCE);
  }

  async function rescan(all: boolean): Promise<void> {
    const { files, directories } = await scan(root);
    watcher.set(directories);
    const present = new Set(files.map((file) => file.path));
    for (const path of stamps.keys()) if (!present.has(path)) forget(path);
    for (const { path, stamp } of files) {
      const changed = stamps.get(path) !== stamp;
      stamps.set(path, stamp);
      if (!changed && !all) continue;
      if (all) {
        forced.add(path);
        awaited.add(path);
      }
      queue.add(isDisabled(root, path, disabled) ? REMOVE + addonNameOf(path) : path);
    }
  }

  /** The file is gone; its objects stay, as in K3s. */
  function forget(path: string): void {
    for (const map of [stamps, failing, awaited]) map.delete(path);
    const name = addonNameOf(path);
    if (owners.get(name) !== path) return;
    owners.delete(name);
    for (const other of stamps.keys()) if (addonNameOf(other) === name) queue.add(other);
  }

  async function applyFile(path: string): Promise<number | void> {
    const content = await readFile(path).catch(() => undefined);
    if (!content) return;
    const name = addonNameOf(path);
    const holder = owners.get(name) ?? path;
    owners.set(name, holder);
    const checksum = createHash("sha256").update(content).digest("hex");
    const addon = await ensureAddon(client, name, holder);
    if (holder !== path) {
      return fail(addon, path, "ParseManifestFailed", `Parse manifest at "${path}" failed: AddOn ${name} comes from ${holder}; give the file another name`, false);
    }
    if (!forced.has(path) && !failing.has(path) && addon.spec.checksum === checksum) return done(path);

    const { objects, errors } = parseManifest(content.toString());
    if (errors.length) recorder.record(addon, "Warning", "ParseManifestFailed", `Parse manifest at "${path}" failed: ${errors.join("; ")}`);
    recorder.record(addon, "Normal", "ApplyingManifest", `Applying manifest at "${path}"`);
    const owner = addonOwner(name);
    const applied = await applier.apply(owner, objects);
    const before = parseGvks(addon.metadata.annotations?.[GVKS_ANNOTATION]);
    // Nothing is pruned by a file that could not be read to its end: what it lists is not known.
    const pruned = errors.length ? [] : await applier.prune(owner, uniqueGvks([...before, ...applied.gvks]), objects);
    const failures = [...applied.failures, ...pruned];
    const remember = failures.length || errors.length ? uniqueGvks([...before, ...applied.gvks]) : applied.gvks;
    const ok = !failures.length && !errors.length;
    await client.patch(addons, name, {
      metadata: { annotations: { [GVKS_ANNOTATION]: formatGvks(remember) } },
      spec: { source: path, ...(ok && { checksum }) },
    }, { namespace: ADDON_NAMESPACE });

    if (!ok) {
      const message = [...errors, ...failures.map((f: Failure) => `${f.what}: ${f.message}`)].join("; ");
      return fail(addon, path, "ApplyManifestFailed", `Applying manifest at "${path}" failed: ${message}`, failures.some((f) => f.transient));
    }
    recorder.record(addon, "Normal", "AppliedManifest", `Applied manifest at "${path}"`);
    const isNew = addon.spec.checksum !== checksum;
    log[isNew ? "info" : "debug"]({ addon: name, path, objects: objects.length }, `applied ${name}`);
    done(path);
    if (isNew) await warnUnknownFields(addon, path, objects);
  }

  /** The server drops fields that it does not know; whoever wrote the file should hear of a misspelt one. */
  async function warnUnknownFields(addon: AddonObject, path: string, objects: readonly KubeObject[]): Promise<void> {
    const findings = await applier.unknownFields(objects).catch(() => []);
    if (!findings.length) return;
    const message = `Manifest at "${path}" has fields that were ignored: ${findings.join("; ")}`;
    recorder.record(addon, "Warning", "ValidateManifestFailed", message);
    log.warn({ addon: addon.metadata.name, path }, message);
  }

  function done(path: string): void {
    failing.delete(path);
    attempts.delete(path);
    forced.delete(path);
    for (const waiter of waiters.get(path) ?? []) waiter.resolve();
    waiters.delete(path);
  }

  /**
   * Retries what may pass with back-off (throws), and comes back to the rest much later. Warns once for a reason,
   * and for one that may pass only when it has not: definitions and namespaces come a moment after the server.
   */
  function fail(addon: AddonObject, path: string, reason: string, message: string, transient: boolean): number {
    const times = failing.get(path) === message ? (attempts.get(path) ?? 0) + 1 : 1;
    attempts.set(path, times);
    if (times === (transient ? PATIENCE : 1)) {
      recorder.record(addon, "Warning", reason, message);
      log.warn({ addon: addon.metadata.name, path }, message);
    }
    failing.set(path, message);
    if (transient) throw new Error(message);
    for (const waiter of waiters.get(path) ?? []) waiter.reject(new Error(message));
    waiters.delete(path);
    return REFUSED_RETRY;
  }

  async function removeAddon(name: string): Promise<void> {
    const { files } = await scan(root);
    const own = files.filter((file) => addonNameOf(file.path) === name);
    const addon = await client.get(addons, name, ADDON_NAMESPACE).catch((error: unknown) => {
      if (isNotFound(error)) return undefined;
      throw error;
    });
    if (addon || own.length) {
      const path = own[0]?.path ?? addon?.spec.source ?? name;
      if (addon) recorder.record(addon, "Normal", "DeletingManifest", `Deleting manifest at "${path}"`);
      await prunedCompletely(applier, name, [...parseGvks(addon?.metadata.annotations?.[GVKS_ANNOTATION]), ...(await gvksIn(own.map((f) => f.path)))]);
      for (const file of own) await unlinkOwn(root, file.path);
      if (addon) await client.delete(addons, name, { namespace: ADDON_NAMESPACE }).catch((error: unknown) => {
        if (!isNotFound(error)) throw error;
      });
      log.info({ addon: name }, `removed ${name}`);
    }
    for (const file of own) forget(file.path);
    done(REMOVE + name);
  }

  const finished = (key: string): Promise<void> => new Promise((resolve, reject) => {
    if (stopping) return reject(stoppingError());
    waiters.set(key, [...(waiters.get(key) ?? []), { resolve, reject }]);
    queue.add(key);
  });

  return {
    failing,
    async start() {
      await mkdir(root, { recursive: true, mode: 0o700 });
      for (const name of disabled) queue.add(REMOVE + name);
      await rescan(true);
      if (stopping) return;
      slow = setInterval(() => void rescan(false), scanInterval).unref();
    },
    async stop() {
      stopping = true;
      clearTimeout(debounce);
      clearInterval(slow);
      watcher.close();
      await queue.stop();
      for (const waiter of [...waiters.values()].flat()) waiter.reject(stoppingError());
      waiters.clear();
    },
    async deploy(addon: Addon) {
      const path = join(root, `${addon.name}.yaml`);
      if (retired.delete(addon.name)) disabled = disabled.filter((name) => name !== addon.name);
      if (isDisabled(root, path, disabled)) return finished(REMOVE + addonNameOf(path));
      if (await stat(`${path}.skip`).catch(() => undefined)) {
        log.info({ addon: addon.name }, `${addon.name} is not deployed: ${path}.skip exists`);
        return;
      }
      await writeManifest(path, substitute(addon.yaml, variables));
      if (!awaited.delete(path)) forced.add(path);
      return finished(path);
    },
    remove: (name) => finished(REMOVE + addonNameOf(name)),
    retire(plugin) {
      retired.add(plugin);
      disabled = [...disabled, plugin];
      return finished(REMOVE + plugin);
    },
  };
}

async function ensureAddon(client: KubeClient, name: string, source: string): Promise<AddonObject> {
  try {
    return await client.get(addons, name, ADDON_NAMESPACE);
  } catch (error) {
    if (!isNotFound(error)) throw error;
    const fresh: AddonObject = {
      apiVersion: "k3s.cattle.io/v1", kind: "Addon", metadata: { name, namespace: ADDON_NAMESPACE }, spec: { source },
    };
    return client.create(addons, fresh, { namespace: ADDON_NAMESPACE });
  }
}

async function prunedCompletely(applier: Applier, name: string, gvks: readonly Gvk[]): Promise<void> {
  const failures = await applier.prune(addonOwner(name), uniqueGvks(gvks), []);
  if (failures.length) throw new Error(failures.map((f) => `${f.what}: ${f.message}`).join("; "));
}

async function gvksIn(paths: readonly string[]): Promise<readonly Gvk[]> {
  const texts = await Promise.all(paths.map((path) => readFile(path, "utf8").catch(() => "")));
  return texts.flatMap((text) => parseManifest(text).objects.map(gvkOf));
}

const uniqueGvks = (gvks: readonly Gvk[]): readonly Gvk[] => parseGvks(formatGvks(gvks));

/** Replaces the file in one step, and only when its content changes. */
async function writeManifest(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  if ((await readFile(path, "utf8").catch(() => undefined)) === text) return chmod(path, 0o600);
  await replaceFile(path, text);
}

/** Deletes a file of the tree itself; what a symlinked folder leads to belongs to somebody else. */
async function unlinkOwn(root: string, path: string): Promise<void> {
  const [folder, own] = [await realpath(dirname(path)).catch(() => ""), await realpath(root)];
  const inside = folder === own || folder.startsWith(`${own}/`);
  if (inside && (await lstat(path).catch(() => undefined))) await unlink(path);
}
