/** Packs rows into one transferable buffer, so that a batch crosses the thread border as a single pointer. */

export interface FrameRow {
  readonly revision: number;
  readonly createRevision: number;
  /** Modification revision of the row before; 0 = none. */
  readonly previousRevision: number;
  readonly key: string;
  /** `null` = deleted. */
  readonly value: Uint8Array | null;
}

const HEADER = 32;
const NULL_VALUE = 0xffffffff;

/** In memory of its own, to be transferred. */
export const encodeRows = (rows: readonly FrameRow[]): Uint8Array<ArrayBuffer> =>
  packRows(rows, (bytes) => Buffer.allocUnsafeSlow(bytes) as Buffer<ArrayBuffer>);

export function packRows<B extends Buffer>(rows: readonly FrameRow[], allocate: (bytes: number) => B): B {
  const lengths = rows.map((row) => Buffer.byteLength(row.key));
  const total = rows.reduce((sum, row, i) => sum + HEADER + lengths[i]! + (row.value?.byteLength ?? 0), 4);
  const frame = allocate(total);
  let at = frame.writeUInt32LE(rows.length, 0);
  rows.forEach((row, i) => {
    at = frame.writeDoubleLE(row.revision, at);
    at = frame.writeDoubleLE(row.createRevision, at);
    at = frame.writeDoubleLE(row.previousRevision, at);
    at = frame.writeUInt32LE(lengths[i]!, at);
    at = frame.writeUInt32LE(row.value ? row.value.byteLength : NULL_VALUE, at);
    at += frame.write(row.key, at, "utf8");
    if (row.value) {
      frame.set(row.value, at);
      at += row.value.byteLength;
    }
  });
  return frame;
}

/** Values are views of the frame: copy what is kept. */
export function decodeRows(bytes: Uint8Array): FrameRow[] {
  const frame = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 4;
  return Array.from({ length: frame.readUInt32LE(0) }, () => {
    const revision = frame.readDoubleLE(at);
    const createRevision = frame.readDoubleLE(at + 8);
    const previousRevision = frame.readDoubleLE(at + 16);
    const keyLength = frame.readUInt32LE(at + 24);
    const valueLength = frame.readUInt32LE(at + 28);
    const valueAt = at + HEADER + keyLength;
    const key = frame.toString("utf8", at + HEADER, valueAt);
    at = valueLength === NULL_VALUE ? valueAt : valueAt + valueLength;
    const value = valueLength === NULL_VALUE ? null : frame.subarray(valueAt, at);
    return { revision, createRevision, previousRevision, key, value };
  });
}
