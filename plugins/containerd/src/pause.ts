/** Makes the sandbox image: one static program of a few hundred bytes that holds a pod's namespaces open. */
import { createHash } from "node:crypto";
import { tar } from "./tar.ts";

export type Machine = "x64" | "arm64";

/**
 * The program blocks SIGINT, SIGTERM and SIGCHLD, then waits for one of them: a child's end is reaped (the program
 * is PID 1 of pods that share their process namespace), anything else ends it with code 0. Blocked signals reach
 * PID 1 although it has no handlers, so no `sigaction` and no restorer is needed.
 */
const signalMask = [2, 15, 17].reduce((mask, signal) => mask | (1n << BigInt(signal - 1)), 0n);
const base = 0x400000;
const headerSize = 64 + 56;

/** An ELF64 executable with one segment, readable and executable. */
export function pauseProgram(machine: Machine): Buffer {
  const code = machine === "x64" ? codeX64() : codeArm64();
  const file = Buffer.alloc(headerSize + code.length);
  file.write("\x7fELF\x02\x01\x01", 0, "latin1");
  file.writeUInt16LE(2, 16);
  file.writeUInt16LE(machine === "x64" ? 62 : 183, 18);
  file.writeUInt32LE(1, 20);
  file.writeBigUInt64LE(BigInt(base + headerSize), 24);
  file.writeBigUInt64LE(64n, 32);
  for (const [offset, value] of [[52, 64], [54, 56], [56, 1], [58, 64]] as const) file.writeUInt16LE(value, offset);
  file.writeUInt32LE(1, 64);
  file.writeUInt32LE(5, 68);
  const segment = [0, base, base, file.length, file.length, 0x1000];
  segment.forEach((value, i) => file.writeBigUInt64LE(BigInt(value), 72 + 8 * i));
  code.copy(file, headerSize);
  return file;
}

/** System calls: rt_sigprocmask 14, rt_sigtimedwait 128, wait4 61, exit_group 231. */
function codeX64(): Buffer {
  const code = Buffer.from([
    0xb8, 14, 0, 0, 0, 0x31, 0xff, 0x48, 0x8d, 0x35, 80, 0, 0, 0, // mov eax,14; xor edi,edi; lea rsi,[mask]
    0x31, 0xd2, 0x41, 0xba, 8, 0, 0, 0, 0x0f, 0x05, //               xor edx,edx; mov r10d,8; syscall
    0xb8, 128, 0, 0, 0, 0x48, 0x8d, 0x3d, 58, 0, 0, 0, //      wait: mov eax,128; lea rdi,[mask]
    0x31, 0xf6, 0x31, 0xd2, 0x41, 0xba, 8, 0, 0, 0, 0x0f, 0x05, //   xor esi,esi; xor edx,edx; mov r10d,8; syscall
    0x83, 0xf8, 17, 0x74, 13, 0x85, 0xc0, 0x78, 0xdf, //             cmp eax,17; je reap; test eax,eax; js wait
    0xb8, 231, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05, //                   mov eax,231; xor edi,edi; syscall
    0xb8, 61, 0, 0, 0, 0xbf, 255, 255, 255, 255, 0x31, 0xf6, // reap: mov eax,61; mov edi,-1; xor esi,esi
    0xba, 1, 0, 0, 0, 0x45, 0x31, 0xd2, 0x0f, 0x05, //               mov edx,1; xor r10d,r10d; syscall
    0x85, 0xc0, 0x7f, 0xe6, 0xeb, 0xba, //                           test eax,eax; jg reap; jmp wait
  ]);
  return withMask(code);
}

/** System calls: rt_sigprocmask 135, rt_sigtimedwait 137, wait4 260, exit_group 94. */
function codeArm64(): Buffer {
  const mov = (register: number, value: number) => (0xd2800000 | (value << 5) | register) >>> 0;
  const maskAt = 29 * 4 + 4;
  const adr = (register: number, index: number) => (0x10000000 | (((maskAt - index * 4) >> 2) << 5) | register) >>> 0;
  const compare = (value: number) => (0xf100001f | (value << 10)) >>> 0;
  const branch = (condition: number, by: number) => (0x54000000 | ((by & 0x7ffff) << 5) | condition) >>> 0;
  const [svc, minusOne, nop] = [0xd4000001, 0x92800000, 0xd503201f];
  const [equal, less, greater] = [0, 11, 12];
  const words = [
    mov(8, 135), mov(0, 0), adr(1, 2), mov(2, 0), mov(3, 8), svc,
    mov(8, 137), adr(0, 7), mov(1, 0), mov(2, 0), mov(3, 8), svc,
    compare(17), branch(equal, 6), compare(0), branch(less, 6 - 15),
    mov(8, 94), mov(0, 0), svc,
    mov(8, 260), minusOne, mov(1, 0), mov(2, 1), mov(3, 0), svc,
    compare(0), branch(greater, 19 - 26), (0x14000000 | ((6 - 27) & 0x3ffffff)) >>> 0, nop, nop,
  ];
  const code = Buffer.alloc(words.length * 4);
  words.forEach((word, i) => code.writeUInt32LE(word, 4 * i));
  return withMask(code);
}

function withMask(code: Buffer): Buffer {
  const mask = Buffer.alloc(8);
  mask.writeBigUInt64LE(signalMask);
  return Buffer.concat([code, mask]);
}

export interface ImageArchive {
  readonly name: string;
  readonly archive: Buffer;
}

/** The pause image as `docker save` would write it; its tag is the hash of the program. */
export function pauseImage(machine: Machine): ImageArchive {
  const layer = tar([{ path: "pause", data: pauseProgram(machine), mode: 0o755 }]);
  const diffId = sha256(layer);
  const name = `docker.io/k3s-p/pause:${diffId.slice(0, 12)}`;
  const config = JSON.stringify({
    architecture: machine === "x64" ? "amd64" : "arm64",
    os: "linux",
    created: "1970-01-01T00:00:00Z",
    config: { Entrypoint: ["/pause"], WorkingDir: "/", User: "65535:65535" },
    rootfs: { type: "layers", diff_ids: [`sha256:${diffId}`] },
    history: [{ created: "1970-01-01T00:00:00Z", created_by: "k3s-p" }],
  });
  const configName = `${sha256(config)}.json`;
  const manifest = JSON.stringify([{ Config: configName, RepoTags: [name], Layers: ["layer.tar"] }]);
  const entries = [
    { path: configName, data: config },
    { path: "layer.tar", data: layer },
    { path: "manifest.json", data: manifest },
  ];
  return { name, archive: tar(entries) };
}

const sha256 = (data: string | Uint8Array) => createHash("sha256").update(data).digest("hex");

/** The image of the user's own, in the registry that is for all images of the system unless it names that itself; empty when there is none. */
export function ownPauseImage({ pauseImage = "", systemDefaultRegistry: registry = "" }: { readonly pauseImage?: string; readonly systemDefaultRegistry?: string }): string {
  return pauseImage && registry && !pauseImage.startsWith(`${registry}/`) ? `${registry}/${pauseImage}` : pauseImage;
}
