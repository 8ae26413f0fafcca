/** Writes ustar archives: what an image archive of a few small files needs. */

export interface TarEntry {
  readonly path: string;
  readonly data: Uint8Array | string;
  readonly mode?: number;
}

const block = 512;

/** Deterministic: owner root, time zero. */
export function tar(entries: readonly TarEntry[]): Buffer {
  const parts = entries.flatMap(({ path, data, mode }) => {
    const body = Buffer.from(data as Uint8Array);
    const padding = Buffer.alloc((block - (body.length % block)) % block);
    return [header(path, body.length, mode ?? 0o644), body, padding];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * block)]);
}

function header(path: string, size: number, mode: number): Buffer {
  if (Buffer.byteLength(path) > 100) throw new RangeError(`path too long for ustar: ${path}`);
  const head = Buffer.alloc(block);
  const octal = (value: number, at: number, length: number) =>
    head.write(value.toString(8).padStart(length - 1, "0"), at, "ascii");
  head.write(path, 0);
  octal(mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(0, 136, 12);
  head.write("        0", 148, "ascii");
  head.write("ustar\u000000", 257, "ascii");
  const sum = head.reduce((total, byte) => total + byte, 0);
  head.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "ascii");
  return head;
}
