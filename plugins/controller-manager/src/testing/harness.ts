/** What a controller test starts from: a fake client, a settable clock, counted randomness, and `settle`. */
import { generateKeyPairSync } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { vi } from "vitest";
import type { Logger } from "@k3s-p/plugin-api";
import type { ControllerDeps, StartController } from "../controller.ts";
import { sharedInformers } from "../lib/informers.ts";
import { defaultTuning } from "../options.ts";
import { fakeKube, type FakeKube } from "@k3s-p/plugin-api/kube/fake";

/** Tests look deep into what controllers wrote, where every level is optional in the types. */
type TestKube = Omit<FakeKube, "all"> & { all(...args: Parameters<FakeKube["all"]>): any[] };

export interface Harness {
  readonly client: TestKube;
  readonly deps: ControllerDeps;
  /** Everything that was logged as warn or error. */
  readonly problems: string[];
  start(controller: StartController): Promise<void>;
  /** Lets all reconciles that are due end. */
  settle(): Promise<void>;
  advance(seconds: number): Promise<void>;
  /** `Reason message` of the Events written so far. */
  events(): string[];
  stop(): Promise<void>;
}

const accountKey = {
  privateKey: generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ type: "sec1", format: "pem" }) as string,
  publicKey: "", path: "/service.key",
};

export function createHarness(
  startAt = "2026-01-01T00:00:00Z", cluster: Partial<ControllerDeps["cluster"]> = {},
): Harness {
  vi.useFakeTimers({ now: Date.parse(startAt), toFake: ["setTimeout", "clearTimeout", "Date"] });
  let seed = 0;
  const now = () => new Date();
  const client = fakeKube({ now }) as TestKube;
  const undo: (() => void | Promise<void>)[] = [];
  const abort = new AbortController();
  const problems: string[] = [];
  const note = (fields: object | string, msg?: string) => void problems.push(`${msg ?? ""} ${JSON.stringify(fields)}`);
  const log: Logger = { trace() {}, debug() {}, info() {}, warn: note, error: note };
  const deps: ControllerDeps = {
    client, log, now, signal: abort.signal, cluster: { clusterCidr: ["10.42.0.0/16"], ...cluster }, self: { name: "server-1" },
    tuning: defaultTuning, random: () => (seed = (seed + 0.37) % 1),
    pki: { ca: (name) => ({ cert: `CERT ${name}`, certPath: `/${name}.crt` }), issue: unused, serviceAccountKey: async () => accountKey, certify: unused },
    informer: sharedInformers(client, (fn) => undo.push(fn)),
    defer: (fn) => undo.push(fn),
  };

  async function settle(): Promise<void> {
    for (let round = 0; round < 40; round++) await setImmediate();
  }

  return {
    client, deps, problems, settle,
    async start(controller) {
      await controller(deps);
      await settle();
    },
    async advance(seconds) {
      await vi.advanceTimersByTimeAsync(seconds * 1000);
      await settle();
    },
    events: () =>
      client.writes
        .filter((a) => a.resource === "events" && a.verb === "create")
        .map((a) => `${a.body.reason} ${a.body.message}`),
    async stop() {
      abort.abort();
      for (const fn of undo.reverse()) await fn();
      vi.useRealTimers();
    },
  };
}

const unused = () => Promise.reject(new Error("not used in this test"));
