/** Brings images in from archives: our pause image, and whatever lies in `agent/images`, at start and when it changes. */
import { createReadStream, createWriteStream, mkdirSync, watch } from "node:fs";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { messageOf, replaceFile, type Logger } from "@k3s-p/plugin-api";
import type { Runner } from "@k3s-p/plugin-api/slots";
import type { ImageArchive } from "./pause.ts";

export interface ImageImport {
  readonly ctr: string;
  /** containerd's major version. */
  readonly major: number;
  readonly socket: string;
  readonly snapshotter: string;
  /** containerd's root: what was imported is remembered there, so it is forgotten with the images. */
  readonly root: string;
  readonly runner: Runner;
  readonly log: Logger;
}

interface Imported {
  readonly size: number;
  readonly mtimeMs: number;
  readonly images: readonly string[];
}

/** File names that K3s accepts, with the way to unpack them. A `.txt` lists images to pull, one a line. */
const archives: readonly (readonly [suffix: string, unpack: (() => NodeJS.ReadWriteStream) | undefined])[] = [
  [".tar", undefined],
  [".tar.gz", createGunzip],
  [".tgz", createGunzip],
  [".tar.zst", createZstdDecompress],
  [".tzst", createZstdDecompress],
];

const importTimeout = 30 * 60_000;

/** Loads one archive into containerd and returns the names of its images, pinned against garbage collection. */
async function loadArchive(options: ImageImport, file: string): Promise<string[]> {
  const { ctr, major, socket, snapshotter, runner } = options;
  const run = (...args: string[]) =>
    runner.run(ctr, ["--address", socket, "--namespace", "k8s.io", "images", ...args], { timeout: importTimeout });
  // From 2.0 on the daemon imports by default, and ctr then draws progress bars where names are wanted.
  const local = major >= 2 ? ["--local"] : [];
  const result = await run("import", ...local, "--snapshotter", snapshotter, file);
  if (result.code !== 0) throw new Error(lastLine(result.stderr || result.stdout));
  const images = importedNames(result.stdout);
  for (const name of images) await run("label", name, "io.cri-containerd.pinned=pinned");
  return images;
}

/** `unpacking docker.io/library/busybox:latest (sha256:...)...done` */
export const importedNames = (output: string): string[] =>
  [...new Set([...output.matchAll(/^unpacking (\S+) \(/gm)].map((match) => match[1]!))].sort();

const lastLine = (text: string) => text.trim().split("\n").at(-1) ?? "";

/** Imports an archive made in memory (the pause image). */
export async function importBytes(options: ImageImport, image: ImageArchive): Promise<void> {
  const file = join(options.root, ".pause.tar");
  await writeFile(file, image.archive, { mode: 0o600 });
  await loadArchive(options, file).finally(() => rm(file, { force: true }));
}

/**
 * CRI knows image volumes from containerd 2.1 on; this way there are some with any. The view of the image's layers is
 * named by its path: one that a mount left there which is gone is in the way.
 */
export async function mountImage({ ctr, socket, snapshotter, runner }: ImageImport, image: string, path: string): Promise<void> {
  const run = (...args: string[]) => runner.run(ctr, ["--address", socket, "--namespace", "k8s.io", ...args]);
  await run("snapshots", "--snapshotter", snapshotter, "remove", path);
  const { code, stderr } = await run("images", "mount", "--snapshotter", snapshotter, image, path);
  if (code !== 0) throw new Error(`image ${image} not mounted: ${lastLine(stderr)}`);
}

export interface ImageFolder {
  /** Resolves when what lay there at start is imported; failures are logged, never thrown. */
  readonly imported: Promise<void>;
  stop(): void;
}

export type Pull = (image: string) => Promise<unknown>;

/** Follows `folder`, adding what it brings to `pinned`. A file counts as written when nothing changed for a second. */
export function watchImages(options: ImageImport, folder: string, pinned: Set<string>, pull: Pull): ImageFolder {
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  let timer: NodeJS.Timeout | undefined;
  const look = () => importFolder(options, folder, pinned, pull).catch((error: unknown) =>
    options.log.error({ error: messageOf(error) }, `${folder} was not imported`));
  let work = look();
  const imported = work;
  const watcher = watch(folder, () => {
    clearTimeout(timer);
    timer = setTimeout(() => (work = work.then(look)), 1000);
  });
  watcher.on("error", (error) => options.log.warn({ error: String(error) }, `no longer watching ${folder}`));
  return {
    imported,
    stop() {
      clearTimeout(timer);
      watcher.close();
    },
  };
}

async function importFolder(options: ImageImport, folder: string, pinned: Set<string>, pull: Pull): Promise<void> {
  const memory = join(options.root, "imported-images.json");
  const before = await readMemory(memory);
  const after: Record<string, Imported> = {};
  for (const name of (await readdir(folder)).sort()) {
    const file = join(folder, name);
    const info = await stat(file).catch(() => undefined);
    if (!info?.isFile() || !isImageFile(name)) continue;
    const known = before[name];
    const fresh = known?.size === info.size && known.mtimeMs === info.mtimeMs;
    const images = fresh ? known.images : await importFile(options, file, pull);
    if (images) after[name] = { size: info.size, mtimeMs: info.mtimeMs, images };
    images?.forEach((image) => pinned.add(image));
  }
  if (JSON.stringify(before) === JSON.stringify(after)) return;
  await replaceFile(memory, JSON.stringify(after));
}

const isImageFile = (name: string) =>
  !name.startsWith(".") && (name.endsWith(".txt") || archives.some(([suffix]) => name.endsWith(suffix)));

const readMemory = async (file: string): Promise<Record<string, Imported>> => {
  try {
    return JSON.parse(await readFile(file, "utf8")) as Record<string, Imported>;
  } catch {
    return {};
  }
};

async function importFile(options: ImageImport, file: string, pull: Pull): Promise<string[] | undefined> {
  const start = Date.now();
  try {
    const images = file.endsWith(".txt") ? await pullList(file, pull) : await importArchive(options, file);
    options.log.info({ images, ms: Date.now() - start }, `imported ${file}`);
    return images;
  } catch (error) {
    options.log.error({ error: (error as Error).message }, `${file} was not imported`);
    return undefined;
  }
}

async function pullList(file: string, pull: Pull): Promise<string[]> {
  const names = (await readFile(file, "utf8")).split("\n").map((line) => line.trim()).filter((line) => line && !line.startsWith("#"));
  for (const name of names) await pull(name);
  return names;
}

async function importArchive(options: ImageImport, file: string): Promise<string[]> {
  const unpack = archives.find(([suffix]) => file.endsWith(suffix))?.[1];
  if (!unpack) return loadArchive(options, file);
  await mkdir(options.root, { recursive: true });
  const plain = join(options.root, `.import-${process.pid}.tar`);
  try {
    await pipeline(createReadStream(file), unpack(), createWriteStream(plain, { mode: 0o600 }));
    return await loadArchive(options, plain);
  } finally {
    await rm(plain, { force: true });
  }
}
