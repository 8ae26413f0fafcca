/** What every plugin owes whatever its slot: it starts, says how it is, ends when told to, and leaves nothing behind. */
import assert from "node:assert/strict";
import { dataPlane } from "./data-plane.ts";
import { growth, liveResources, type ResourceCount, type ResourceMeter } from "./leaks.ts";
import type { Requirement } from "./requirements.ts";
import { startSubject, type Subject } from "./subject.ts";
import { pause, test, type ConformanceContext, type ConformanceTest } from "./suite.ts";
import type { World } from "./world.ts";

const CYCLES = 20;
/** Milliseconds in which a start must give way to an abort. */
const ABORT_LIMIT = 1_000;
/** Sockets and timers of the system's own may take a moment to go. */
const SETTLE_LIMIT = 4_000;

/** Slots whose providers change the node, and so need namespaces or programs of their own. */
const requirements: Readonly<Record<string, readonly Requirement[]>> = {
  cni: ["netns"], proxy: ["netns"], "network-policy": ["netns"], runtime: ["containerd"], kubelet: ["root"],
};

export function lifecycleSuite(subject: Subject): readonly ConformanceTest[] {
  const requires = [...new Set(subject.provides.flatMap((slot) => requirements[slot] ?? []))];
  const begin = (ctx: ConformanceContext) => startSubject(subject, ctx, placeOf(subject, ctx));
  return [
    test("its code provides what its manifest says", [], () => {
      const token = subject.plugin.definition.provides as { readonly id: string } | undefined;
      assert.deepEqual(subject.provides, token ? [token.id] : [], "k3sp.provides of package.json, and provides of definePlugin");
    }),
    test("starts, is healthy, and stops", requires, async (ctx) => {
      const started = await begin(ctx);
      const health = await started.health();
      await started.stop();
      assert.ok(health.ok, `unhealthy after the start: ${health.message}`);
      assert.deepEqual(started.failures, [], "it reported itself as failed");
    }),
    test("stop may be called twice", requires, async (ctx) => {
      const started = await begin(ctx);
      await started.stop();
      await started.stop();
    }),
    test(`starting and stopping ${CYCLES} times leaks no timer, socket, server, watcher or process`, requires, (ctx) => cycles(subject, ctx)),
    test(`an abort during the start is honoured within ${ABORT_LIMIT / 1000} s and leaves nothing`, requires, (ctx) => abortedStart(subject, ctx)),
    ...(subject.validate ? [test("a section with an unknown option is refused before the start", [], () => refusesBadConfig(subject))] : []),
  ];
}

function placeOf(subject: Subject, ctx: ConformanceContext) {
  const inNetns = subject.provides.some((slot) => requirements[slot]?.includes("netns"));
  return inNetns ? dataPlane(ctx).place : {};
}

async function cycles(subject: Subject, ctx: ConformanceContext): Promise<void> {
  const place = placeOf(subject, ctx);
  // The first start loads modules, fills caches and starts what lives on.
  const { world, stop } = await startSubject(subject, ctx, place);
  await stop();
  const once = async () => (await startSubject(subject, ctx, { ...place, world })).stop();
  const meter = liveResources();
  ctx.defer(() => meter.stop());
  await once();
  // What one start leaves is the measure, so its own count need not be nothing.
  const before = await steady(meter.count);
  for (let i = 0; i < CYCLES; i++) await once();
  const after = await settled(meter.count, before);
  assert.deepEqual(growth(before, after), [], `more is alive after ${CYCLES} starts and stops than after one`);
}

/** Parts of the time that a start takes, at which it is aborted. */
const moments = [0, 0.25, 0.5, 0.75];

async function abortedStart(subject: Subject, ctx: ConformanceContext): Promise<void> {
  const place = placeOf(subject, ctx);
  const begun = performance.now();
  const { world, stop } = await startSubject(subject, ctx, place);
  const duration = performance.now() - begun;
  await stop();
  const meter = liveResources();
  ctx.defer(() => meter.stop());
  for (const moment of moments) await abortAt(subject, ctx, world, moment * duration, meter);
}

async function abortAt(subject: Subject, ctx: ConformanceContext, world: World, ms: number, meter: ResourceMeter): Promise<void> {
  const abort = new AbortController();
  const starting = startSubject(subject, ctx, { world, abort }).then((started) => started.stop(), () => undefined);
  await pause(Math.max(1, ms));
  abort.abort(new Error("the server is stopping"));
  assert.ok(await settlesWithin(ABORT_LIMIT, starting), `start() had not settled ${ABORT_LIMIT} ms after ctx.signal was aborted at ${Math.round(ms)} ms`);
  assert.deepEqual(growth({}, await settled(meter.count, {})), [], `alive after a start that was aborted at ${Math.round(ms)} ms`);
}

async function settlesWithin(ms: number, promise: Promise<unknown>): Promise<boolean> {
  const limit = Promise.withResolvers<boolean>();
  const timer = setTimeout(limit.resolve, ms, false);
  try {
    return await Promise.race([promise.then(() => true), limit.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** The count once it stays the same for a moment. */
async function steady(count: () => ResourceCount): Promise<ResourceCount> {
  for (let last = count(), i = 0; ; i++) {
    await pause(50);
    const now = count();
    if (i === 20 || JSON.stringify(now) === JSON.stringify(last)) return now;
    last = now;
  }
}

/** Waits until nothing more than `floor` is alive, or for so long that it is a leak. */
async function settled(count: () => ResourceCount, floor: ResourceCount): Promise<ResourceCount> {
  for (const end = Date.now() + SETTLE_LIMIT; ; ) {
    // The wait's own timer is gone when it has passed.
    await pause(20);
    await new Promise((resolve) => setImmediate(resolve));
    const now = count();
    if (!growth(floor, now).length || Date.now() > end) return now;
  }
}

async function refusesBadConfig({ id, validate }: Subject): Promise<void> {
  await assert.rejects(async () => validate!({ "no-such-option": true }), `the schema of ${id} must have additionalProperties: false`);
}
