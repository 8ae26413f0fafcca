/** What the kubelet knows of its containers, when the runtime that tells it changes. */
import { expect, it } from "vitest";
import { fakeRuntime, type FakeRuntime } from "@k3s-p/plugin-api/conformance/fake-runtime";
import type { PodSandboxConfig, Runtime } from "@k3s-p/plugin-api/slots";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { systemClock } from "./clock.ts";
import { kubeletFigures } from "./figures.ts";
import { runtimeView } from "./runtime-view.ts";

const config = (uid: string): PodSandboxConfig => ({
  metadata: { name: uid, uid, namespace: "default", attempt: 0 }, logDirectory: "/log", labels: { "io.kubernetes.pod.uid": uid },
});

const until = async (look: () => boolean): Promise<void> => {
  for (let i = 0; i < 200 && !look(); i++) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(look()).toBe(true);
};

async function runContainer(runtime: FakeRuntime, uid: string): Promise<string> {
  const sandbox = await runtime.runPodSandbox(config(uid));
  const id = await runtime.createContainer(sandbox, { metadata: { name: uid, attempt: 0 }, image: { image: "busybox" }, logPath: "c.log", labels: config(uid).labels! }, config(uid));
  await runtime.startContainer(id);
  return id;
}

/** Has its name in `listening` once for each of its listeners. */
function counted(name: string, listening: string[]): FakeRuntime {
  const runtime = fakeRuntime();
  return {
    ...runtime,
    subscribe(...args) {
      const end = runtime.subscribe(...args);
      listening.push(name);
      return () => {
        listening.splice(listening.indexOf(name), 1);
        end();
      };
    },
  };
}

it("lists what another runtime has, and hears that one's events instead of the first one's", async () => {
  const listening: string[] = [];
  const [first, second] = ["first", "second"].map((name) => counted(name, listening)) as [FakeRuntime, FakeRuntime];
  let current: FakeRuntime = first;
  const runtime = new Proxy({}, { get: (_, key) => Reflect.get(current, key) as unknown }) as Runtime;
  const changed = new Set<string>();
  const view = runtimeView({ runtime, clock: systemClock(), log: silentLogger, figures: kubeletFigures() }, (uid) => changed.add(uid));
  await view.start();
  expect(view.uids()).toEqual([]);

  current = second;
  const id = await runContainer(second, "two");
  view.resume();
  await until(() => view.container(id)?.state === "RUNNING");
  expect(view.uids()).toEqual(["two"]);
  second.exit("two", 3);
  await until(() => view.container(id)?.exitCode === 3);

  expect([[...changed], listening]).toEqual([["two"], ["second"]]);
  view.stop();
  expect(listening).toEqual([]);
});
