/**
 * Two processes that call each other's functions over a channel of structured-clonable messages.
 *
 * Plain data travels as it is. A function becomes a function of the other side that returns a promise; a promise
 * and an AbortSignal arrive as such. What a call returns can be awaited, and also called at once, for functions such
 * as `subscribe` that return their undoing.
 */
import { k3spError, type ErrorCode } from "../errors.ts";

export interface Channel {
  send(message: unknown): void;
  onMessage(fn: (message: unknown) => void): void;
}

export type RemoteFunction = (...args: unknown[]) => Promise<unknown>;
type AnyFunction = (...args: any[]) => unknown;

export interface Bridge {
  /** A function that the other side exports by name. */
  remote(name: string): RemoteFunction;
  /** Every call that is under way or still to come rejects with `error`. */
  close(error: Error): void;
}

type Message =
  | { readonly op: "call"; readonly id: number; readonly fn: string | number; readonly args: readonly unknown[] }
  | { readonly op: "return"; readonly id: number; readonly value: unknown }
  | { readonly op: "throw"; readonly id: number; readonly error: unknown }
  /** The other side cannot reach the function any more. */
  | { readonly op: "drop"; readonly fn: number };

const mark = "$k3sp";

export function createBridge(channel: Channel, exported: Readonly<Record<string, AnyFunction>>): Bridge {
  const functions = new Map<number, AnyFunction>();
  const calls = new Map<number, { resolve: (value: unknown) => void; reject: (error: unknown) => void }>();
  const collected = new FinalizationRegistry<number>((fn) => send({ op: "drop", fn }));
  let next = 1;
  let closed: Error | undefined;

  function send(message: Message): void {
    if (!closed) channel.send(message);
  }

  function call(fn: string | number, args: readonly unknown[]): Promise<unknown> {
    if (closed) return Promise.reject(closed);
    const id = next++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    calls.set(id, { resolve, reject });
    send({ op: "call", id, fn, args: args.map(encode) });
    return promise;
  }

  function encode(value: unknown): unknown {
    if (typeof value === "function") return encodeFunction(value as AnyFunction);
    if (typeof value !== "object" || value === null) return value;
    if (value instanceof Promise) return { [mark]: "promise", fn: encodeFunction(() => value) };
    if (value instanceof AbortSignal) return { [mark]: "signal", aborted: value.aborted, fn: encodeFunction((abort: () => void) => value.addEventListener("abort", () => abort(), { once: true })) };
    if (value instanceof Error) return { [mark]: "error", ...errorToData(value) };
    if (Array.isArray(value)) return value.map(encode);
    if (ArrayBuffer.isView(value) || value instanceof Date || value instanceof Map || value instanceof Set) return value;
    return Object.fromEntries(Object.keys(value).map((key) => [key, encode((value as Record<string, unknown>)[key])]));
  }

  function encodeFunction(fn: AnyFunction): unknown {
    const id = next++;
    functions.set(id, fn);
    return { [mark]: "function", id };
  }

  function decode(value: unknown): unknown {
    if (typeof value !== "object" || value === null || ArrayBuffer.isView(value) || value instanceof Date || value instanceof Map || value instanceof Set) return value;
    if (Array.isArray(value)) return value.map(decode);
    const data = value as Record<string, unknown>;
    if (data[mark] === "function") return decodeFunction(data.id as number);
    if (data[mark] === "error") return dataToError(data);
    if (data[mark] === "promise") return handled((decode(data.fn) as RemoteFunction)());
    if (data[mark] === "signal") return decodeSignal(data);
    return Object.fromEntries(Object.entries(data).map(([key, entry]) => [key, decode(entry)]));
  }

  function decodeFunction(id: number): RemoteFunction {
    const proxy = (...args: unknown[]) => callable(call(id, args));
    collected.register(proxy, id);
    return proxy;
  }

  function decodeSignal(data: Record<string, unknown>): AbortSignal {
    const abort = new AbortController();
    if (data.aborted) abort.abort();
    else void handled((decode(data.fn) as RemoteFunction)(() => abort.abort()));
    return abort.signal;
  }

  async function answer({ id, fn, args }: Message & { op: "call" }): Promise<void> {
    try {
      const target = typeof fn === "string" ? exported[fn] : functions.get(fn);
      if (!target) throw new TypeError(`no function ${fn} on this side`);
      send({ op: "return", id, value: encode(await target(...args.map(decode))) });
    } catch (error) {
      send({ op: "throw", id, error: encode(error instanceof Error ? error : new Error(String(error))) });
    }
  }

  channel.onMessage((raw) => {
    const message = raw as Message;
    if (message.op === "call") return void answer(message);
    if (message.op === "drop") return void functions.delete(message.fn);
    const waiting = calls.get(message.id);
    calls.delete(message.id);
    if (message.op === "return") waiting?.resolve(decode(message.value));
    else waiting?.reject(decode(message.error));
  });

  return {
    remote: (name) => (...args) => call(name, args),
    close(error) {
      closed = error;
      for (const { reject } of calls.values()) reject(error);
      calls.clear();
      functions.clear();
    },
  };
}

/** A promise that can also be called, before it has been settled, when it stands for a function. */
function callable(promise: Promise<unknown>): Promise<unknown> {
  const fn = (...args: unknown[]) => promise.then((value) => (value as RemoteFunction)(...args));
  return Object.assign(fn, {
    // oxlint-disable-next-line unicorn/no-thenable -- it is a promise to whoever awaits it
    then: promise.then.bind(promise), catch: promise.catch.bind(promise), finally: promise.finally.bind(promise), [Symbol.toStringTag]: "Promise",
  }) as unknown as Promise<unknown>;
}

function handled<T>(promise: Promise<T>): Promise<T> {
  promise.then(undefined, () => {});
  return promise;
}

/** Own properties travel too: codes, and the Status of an API error. */
const errorToData = (error: Error): Record<string, unknown> => ({
  ...Object.fromEntries(Object.entries(error).filter(([, value]) => typeof value !== "function").map(([key, value]) => [key, plain(value)])),
  name: error.name, message: error.message, stack: error.stack,
});

function plain(value: unknown): unknown {
  try {
    return structuredClone(value);
  } catch {
    return String(value);
  }
}

function dataToError({ [mark]: _, name, message, stack, ...rest }: Record<string, unknown>): Error {
  if (name === "K3spError") return k3spError(rest.code as ErrorCode, { ...rest, message: String(message) });
  const error = Object.assign(new Error(String(message)), rest);
  Object.defineProperty(error, "name", { value: name, configurable: true });
  Object.defineProperty(error, "stack", { value: stack, configurable: true });
  return error;
}

