/** Stop signals of containers: CRI's numbers for them, and how a container is stopped whose containerd knows of none but the image's. */
import { constants } from "node:os";
import type { ContainerConfig, Runtime } from "@k3s-p/plugin-api/slots";

const plain = [
  "SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT", "SIGIO", "SIGIOT", "SIGKILL", "SIGPIPE",
  "SIGPOLL", "SIGPROF", "SIGPWR", "SIGQUIT", "SIGSEGV", "SIGSTKFLT", "SIGSTOP", "SIGSYS", "SIGTERM", "SIGTRAP", "SIGTSTP", "SIGTTIN", "SIGTTOU",
  "SIGURG", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ",
];
const count = (from: number, to: number, name: (n: number) => string): string[] => Array.from({ length: to - from + 1 }, (_, i) => name(from + i));

/** The API's names in the order of CRI's enum, in which 0 leaves the choice to the runtime. */
export const signalNames: readonly (string | undefined)[] = [
  undefined, ...plain, "SIGRTMIN", ...count(1, 15, (n) => `SIGRTMIN+${n}`), ...count(1, 14, (n) => `SIGRTMAX-${n}`).reverse(), "SIGRTMAX",
];

const RTMIN = 34;
const RTMAX = 64;
const aliases: Readonly<Record<string, string>> = { SIGCLD: "SIGCHLD", SIGRTMIN: "SIGRTMIN+0", SIGRTMAX: "SIGRTMAX-0" };

/** The kernel's number, which every program understands. */
export function signalNumber(name: string): number | undefined {
  const known = aliases[name] ?? name;
  const [, base, distance] = /^(SIGRTMIN\+|SIGRTMAX-)(\d+)$/.exec(known) ?? [];
  if (base) return base === "SIGRTMIN+" ? RTMIN + Number(distance) : RTMAX - Number(distance);
  return (constants.signals as Readonly<Record<string, number>>)[known];
}

/** Keeps the wish with the container, for a containerd that would forget it (before 2.2). */
const ANNOTATION = "k3sp.io/stop-signal";

/** The CRI form of a container's configuration. */
export function withStopSignal({ stopSignal, ...config }: ContainerConfig): object {
  if (stopSignal === undefined) return config;
  return { ...config, stopSignal: Math.max(0, signalNames.indexOf(stopSignal)), annotations: { ...config.annotations, [ANNOTATION]: stopSignal } };
}

export const askedSignal = (annotations: Readonly<Record<string, string>> | undefined): string | undefined => annotations?.[ANNOTATION];

/** Sends a signal to the container's first process. */
export type Kill = (id: string, signal: number) => Promise<void>;

/** Sends the signal and waits until the container has exited, for at most `seconds`. */
export async function stopBySignal(kill: Kill, subscribe: Runtime["subscribe"], id: string, signal: number, seconds: number): Promise<void> {
  let done = (): void => {};
  const exited = new Promise<void>((resolve) => (done = resolve));
  const unsubscribe = subscribe((event) => void (event.type === "exited" && event.containerId === id && done()), () => {});
  const timer = setTimeout(done, seconds * 1000);
  try {
    await kill(id, signal);
    await exited;
  } finally {
    clearTimeout(timer);
    unsubscribe();
  }
}
