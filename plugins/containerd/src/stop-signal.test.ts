import { describe, expect, it } from "vitest";
import type { RuntimeEvent } from "@k3s-p/plugin-api/slots";
import type { CriChannel, Message } from "./cri.ts";
import { criRuntime } from "./runtime.ts";
import { signalNames, signalNumber } from "./stop-signal.ts";

it.each([["SIGABRT", 1, 6], ["SIGCLD", 5, 17], ["SIGUSR1", 29, 10], ["SIGRTMIN", 35, 34], ["SIGRTMIN+15", 50, 49], ["SIGRTMAX-14", 51, 50], ["SIGRTMAX-1", 64, 63], ["SIGRTMAX", 65, 64]])(
  "knows %s as CRI's %i and the kernel's %i", (name, cri, kernel) => expect([signalNames.indexOf(name), signalNumber(name)]).toEqual([cri, kernel]));

it("has a number for every signal", () => {
  expect(signalNames).toHaveLength(66);
  expect(signalNames.slice(1).filter((name) => signalNumber(name!) === undefined)).toEqual([]);
});

/** A containerd with one container, which ends when it is killed; `takesSignal` is what 2.2 does and 1.6 does not. */
function containerd(takesSignal: boolean) {
  const sent: string[] = [];
  const listeners = new Set<(event: RuntimeEvent) => void>();
  let status: Message = { state: 1, createdAt: "1", startedAt: "1", finishedAt: "0", labels: {}, annotations: {} };
  const call = async (_service: string, method: string, request: any): Promise<Message> => {
    if (method === "CreateContainer") status = { ...status, annotations: request.config.annotations ?? {}, stopSignal: takesSignal ? request.config.stopSignal : 0 };
    if (method === "StopContainer") sent.push(`StopContainer ${request.timeout}`);
    return method === "CreateContainer" ? { containerId: "c" } : method === "ListContainers" ? { containers: [] } : { status };
  };
  const runtime = criRuntime({
    endpoint: "", cni: { confDir: "", binDir: "" }, pauseImage: "", channel: { call } as unknown as CriChannel,
    images: { pinned: new Set(), imported: Promise.resolve() },
    events: { subscribe: (fn) => (listeners.add(fn), () => void listeners.delete(fn)) },
    mountImage: async () => undefined,
    kill: async (id, signal) => {
      sent.push(`kill ${signal}`);
      setImmediate(() => listeners.forEach((listen) => listen({ type: "exited", containerId: id })));
    },
  });
  const create = (stopSignal?: string) =>
    runtime.createContainer("s", { metadata: { name: "c", attempt: 0 }, image: { image: "i" }, logPath: "l", ...(stopSignal && { stopSignal }) }, {} as never);
  return { runtime, create, sent, listeners };
}

describe("a container with a stop signal of its own", () => {
  it("is told by it where containerd knows only the image's, and what is left is killed at once", async () => {
    const { runtime, create, sent, listeners } = containerd(false);
    await create("SIGUSR1");
    expect((await runtime.containerStatus("c"))?.stopSignal).toBe("SIGUSR1");
    await runtime.stopContainer("c", 30);
    expect(sent).toEqual(["kill 10", "StopContainer 0"]);
    expect(listeners.size).toBe(0);
  });

  it("is left to a containerd that takes the signal", async () => {
    const { runtime, create, sent } = containerd(true);
    await create("SIGRTMIN+3");
    expect((await runtime.containerStatus("c"))?.stopSignal).toBe("SIGRTMIN+3");
    await runtime.stopContainer("c", 30);
    expect(sent).toEqual(["StopContainer 30"]);
  });

  it("is killed without it when there is no time", async () => {
    const { runtime, create, sent } = containerd(false);
    await create("SIGUSR1");
    await runtime.stopContainer("c", 0);
    expect(sent).toEqual(["StopContainer 0"]);
  });
});

it("leaves a container without one to the runtime", async () => {
  const { runtime, create, sent } = containerd(false);
  await create();
  await runtime.stopContainer("c", 5);
  expect(sent).toEqual(["StopContainer 5"]);
  expect((await runtime.containerStatus("c"))?.stopSignal).toBeUndefined();
});
