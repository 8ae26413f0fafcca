/** What the kernel tells of the time that a plugin took: to load, to start, to open its gate, and in each hook. */

export interface Span {
  readonly step: "load" | "start" | "ready" | "hook";
  readonly hook?: string;
  readonly plugin: string;
  /** Of `performance.now()`. */
  readonly started: number;
  readonly ended: number;
  readonly error?: Error | undefined;
}

export type OnSpan = (span: Span) => void;

export async function spanned<T>(onSpan: OnSpan | undefined, step: Span["step"], plugin: string, fn: () => Promise<T>): Promise<T> {
  const started = performance.now();
  let error: Error | undefined;
  try {
    return await fn();
  } catch (cause) {
    throw (error = cause as Error);
  } finally {
    onSpan?.({ step, plugin, started, ended: performance.now(), error });
  }
}
