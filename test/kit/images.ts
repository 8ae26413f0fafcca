/** Container images for tests without a registry: busybox from the machine's own static binary, as an importable archive. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

export interface BusyboxOptions {
  /** Default `docker.io/library/busybox`; a short name is completed as docker does. */
  readonly name?: string;
  readonly tag?: string;
  /** Further references to the same image, `name:tag`. */
  readonly references?: readonly string[];
  /** Where to write `<name>-<tag>.tar`; default a folder below the system's temporary one. */
  readonly dir?: string;
  /** The static binary; Debian's package busybox-static installs it. */
  readonly binary?: string;
}

/**
 * A docker archive for `agent/images/` or `ctr -n k8s.io images import`. The root has every applet in /bin,
 * /etc/passwd, /tmp and /www/index.html; the command is `sh`. Equal input gives equal bytes, so that an image has one id.
 */
export function busyboxImage(options: BusyboxOptions = {}): string {
  const { name = "busybox", tag = "latest", references = [], dir = join(tmpdir(), "k3s-p-test-images"), binary = "/bin/busybox" } = options;
  if (!existsSync(binary)) throw new Error(`${binary} is missing: apt-get install busybox-static`);
  const applets = execFileSync(binary, ["--list"], { encoding: "utf8" }).trim().split("\n");
  const layer = tar(rootEntries(readFileSync(binary), applets));
  const config = JSON.stringify(imageConfig(layer));
  const digest = sha256(config);
  const manifest = [{ Config: `${digest}.json`, RepoTags: [`${name}:${tag}`, ...references].map(fullReference), Layers: [`${sha256(layer)}/layer.tar`] }];
  const archive = tar([
    { path: `${digest}.json`, data: config },
    { path: `${sha256(layer)}/`, mode: 0o755 },
    { path: `${sha256(layer)}/layer.tar`, data: layer },
    { path: "manifest.json", data: JSON.stringify(manifest) },
  ]);
  const path = join(dir, `${name.replace(/[^\w.-]+/g, "-")}-${tag}.tar`);
  mkdirSync(dirname(path), { recursive: true });
  // Whole or not at all: the server may watch this folder, and tests may share it.
  const part = `${path}.${process.pid}.part`;
  writeFileSync(part, archive);
  renameSync(part, path);
  return path;
}

/** `busybox` -> `docker.io/library/busybox:latest`, as containerd stores it. */
export function fullReference(reference: string): string {
  const [first = "", ...rest] = reference.split("/");
  const hasRegistry = rest.length > 0 && (/[.:]/.test(first) || first === "localhost");
  const named = hasRegistry ? reference : `docker.io/${rest.length ? "" : "library/"}${reference}`;
  return named.slice(named.lastIndexOf("/")).includes(":") ? named : `${named}:latest`;
}

export interface TarEntry {
  /** A path that ends with `/` is a folder. */
  readonly path: string;
  readonly data?: Uint8Array | string;
  readonly mode?: number;
  /** Target of a symbolic link. */
  readonly link?: string;
}

const BLOCK = 512;

/** A ustar archive; everything belongs to root and to the epoch. */
export function tar(entries: readonly TarEntry[]): Buffer {
  const parts = entries.flatMap((entry) => {
    const body = Buffer.from((entry.data ?? "") as string);
    return [header(entry, body.length), body, Buffer.alloc((BLOCK - (body.length % BLOCK)) % BLOCK)];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)]);
}

function header({ path, link, mode }: TarEntry, size: number): Buffer {
  if (Buffer.byteLength(path) > 100 || Buffer.byteLength(link ?? "") > 100) throw new RangeError(`path too long for ustar: ${path}`);
  const type = link !== undefined ? "2" : path.endsWith("/") ? "5" : "0";
  const head = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number) => void head.write(value.toString(8).padStart(length - 1, "0"), at, "ascii");
  head.write(path, 0);
  octal(mode ?? (type === "5" ? 0o755 : type === "2" ? 0o777 : 0o644), 100, 8);
  for (const [value, at, length] of [[0, 108, 8], [0, 116, 8], [size, 124, 12], [0, 136, 12]] as const) octal(value, at, length);
  head.fill(" ", 148, 156);
  head.write(type, 156, "ascii");
  head.write(link ?? "", 157);
  head.write("ustar\x0000", 257, "ascii");
  head.write("root", 265, "ascii");
  head.write("root", 297, "ascii");
  const sum = head.reduce((total, byte) => total + byte, 0);
  head.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "ascii");
  return head;
}

function rootEntries(busybox: Buffer, applets: readonly string[]): readonly TarEntry[] {
  const folders: readonly TarEntry[] = [
    { path: "bin/" }, { path: "dev/" }, { path: "etc/" }, { path: "home/" }, { path: "proc/", mode: 0o555 }, { path: "root/", mode: 0o700 },
    { path: "sys/", mode: 0o555 }, { path: "tmp/", mode: 0o1777 }, { path: "usr/" }, { path: "usr/bin/" }, { path: "var/" }, { path: "var/tmp/", mode: 0o1777 }, { path: "www/" },
  ];
  const files: readonly TarEntry[] = [
    { path: "bin/busybox", data: busybox, mode: 0o755 },
    { path: "etc/group", data: "root:x:0:\nnogroup:x:65534:\n" },
    { path: "etc/passwd", data: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n" },
    { path: "www/index.html", data: "hello from busybox\n" },
    { path: "usr/bin/env", link: "../../bin/busybox" },
  ];
  const links = [...new Set(applets)].filter((applet) => applet && applet !== "busybox").sort();
  return [...folders, ...files, ...links.map((applet): TarEntry => ({ path: `bin/${applet}`, link: "busybox" }))];
}

const architectures: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64", arm: "arm", ppc64: "ppc64le", s390x: "s390x", riscv64: "riscv64" };

function imageConfig(layer: Buffer): object {
  return {
    created: "1970-01-01T00:00:00Z", architecture: architectures[process.arch] ?? process.arch, os: "linux",
    config: { Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], Cmd: ["sh"], WorkingDir: "/" },
    rootfs: { type: "layers", diff_ids: [`sha256:${sha256(layer)}`] },
    history: [{ created: "1970-01-01T00:00:00Z", created_by: "busybox-static" }],
  };
}

const sha256 = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("hex");
