/** Signs of life of a plugin's process: one that gives none is hung, and whoever calls it would wait for ever. */

export interface Heartbeat {
  /** Rejects, or does not settle, when there is no sign of life. */
  readonly ask: () => Promise<unknown>;
  /** Milliseconds from one to the next; an answer has nine tenths of that. */
  readonly every: number;
  /** So many in a row without an answer, and it is hung. */
  readonly misses: number;
  readonly onSilent: (why: string) => void;
}

/** Returns the end of it. */
export function watchBeat({ ask, every, misses, onSilent }: Heartbeat): () => void {
  let missed = 0;
  let late: NodeJS.Timeout | undefined;
  const miss = (): void => {
    if (++missed < misses) return;
    end();
    onSilent(`its process did not answer for ${(every * misses) / 1000} s`);
  };
  const beat = setInterval(() => {
    late = setTimeout(miss, every * 0.9).unref();
    const own = late;
    void ask().then(() => {
      clearTimeout(own);
      missed = 0;
    }, () => {});
  }, every).unref();
  const end = (): void => {
    clearInterval(beat);
    clearTimeout(late);
  };
  return end;
}
