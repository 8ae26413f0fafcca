/**
 * Memory that both threads see. What the main thread says is announced by a bell, on which the worker sleeps: it hears
 * of it without a turn of an event loop. The rows of a commit lie here themselves, and its outcome is told the same way,
 * as a lone write waits for nothing else.
 */

/** Goes to the worker as it is. */
export interface Mailbox {
  readonly signals: Int32Array<SharedArrayBuffer>;
  /** Grows to the largest batch there was; only one is under way. */
  readonly room: SharedArrayBuffer;
}

/** Places in `signals`. */
const BELL = 0;
/** Commits that are over. */
const OVER = 1;
/** Bytes of the rows that wait for a commit. */
const ROWS = 2;
/** Bytes of JSON that say why the last commit failed. */
const FAILURE = 3;
/** Id of the last message before those rows. */
const MESSAGES = 4;

const INITIAL = 64 * 1024;
/** Of address space; a batch has the writes that came in during one commit, each of a few MiB at most. */
const MOST = 2 ** 31;

export const createMailbox = (): Mailbox => ({
  signals: new Int32Array(new SharedArrayBuffer(20)),
  room: new SharedArrayBuffer(INITIAL, { maxByteLength: MOST }),
});

/** The main thread's side. */
export function ring({ signals }: Mailbox): void {
  Atomics.add(signals, BELL, 1);
  Atomics.notify(signals, BELL);
}

/** Where so many bytes of rows are to be put. */
export function roomFor({ room }: Mailbox, bytes: number): Buffer<SharedArrayBuffer> {
  if (room.byteLength < bytes) room.grow(bytes);
  return Buffer.from(room, 0, bytes);
}

/** Resolves when the rows in the room are durable, with the reason when they are not. `after` is the id of the last message before. */
export async function commitRows(box: Mailbox, bytes: number, after: number): Promise<string | undefined> {
  const { signals, room } = box;
  signals[MESSAGES] = after;
  signals[FAILURE] = 0;
  const over = Atomics.waitAsync(signals, OVER, signals[OVER]!);
  // The last word: the worker may be awake.
  Atomics.store(signals, ROWS, bytes);
  ring(box);
  await over.value;
  return signals[FAILURE] > 0 ? Buffer.from(room, 0, signals[FAILURE]).toString() : undefined;
}

/** The worker's side: sleeps until the bell has been rung more often than `heard`, and says how often that is. */
export function listen({ signals }: Mailbox, heard: number): number {
  Atomics.wait(signals, BELL, heard);
  return Atomics.load(signals, BELL);
}

export interface WaitingRows {
  readonly rows: Buffer<SharedArrayBuffer>;
  /** Id of the last message that comes before them. */
  readonly after: number;
}

/** The rows that wait for a commit, if any do. */
export function takeRows({ signals, room }: Mailbox): WaitingRows | undefined {
  const bytes = Atomics.exchange(signals, ROWS, 0);
  if (bytes === 0) return undefined;
  return { rows: Buffer.from(room, 0, bytes), after: signals[MESSAGES]! };
}

export function tellOutcome(box: Mailbox, failure?: string): void {
  const { signals } = box;
  if (failure) signals[FAILURE] = roomFor(box, Buffer.byteLength(failure)).write(failure);
  Atomics.add(signals, OVER, 1);
  Atomics.notify(signals, OVER);
}
