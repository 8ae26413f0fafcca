import { trace } from "@opentelemetry/api";
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { definePlugin } from "@k3s-p/plugin-api";
import { cni } from "@k3s-p/plugin-api/slots";
import { kernelOf, type Fakes } from "../kernel/testing.ts";
import { createTracing } from "./tracing.ts";

afterEach(() => trace.disable());

const net = definePlugin({
  provides: cni, start: () => ({ confList: { cniVersion: "1.0.0", name: "x", plugins: [] }, status: async () => ({ ready: true }) }),
  ready: () => new Promise((resolve) => setTimeout(resolve, 20)),
});
const broken = definePlugin({ start() { throw new Error("no cable"); } });
const tapper = definePlugin({ needs: { cni }, start: (ctx) => ctx.tap(ctx.hooks.serverReady, () => {}) });
const fakes: Fakes = { net: { plugin: net }, tapper: { plugin: tapper }, broken: { plugin: broken, manifest: { criticality: "optional" } } };

test("each step of each plugin is a span of the start, with its own time and its error", async () => {
  const exporter = new InMemorySpanExporter();
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
  const tracing = (await createTracing(() => {}, {}))!;
  const begun = Date.now();
  const { kernel } = kernelOf(fakes, { onSpan: tracing.record });
  await kernel.start();
  tracing.started();
  const spans = exporter.getFinishedSpans();
  const nameOf = (span: (typeof spans)[number]): string => `${span.name} ${String(span.attributes["k3sp.plugin"])}`;
  const found = (name: string) => spans.find((span) => nameOf(span) === name)!;
  expect(spans.map(nameOf).sort()).toEqual([
    "hook:serverReady/tapper tapper", ...["api", "broken", "net", "store", "tapper"].flatMap((id) => [`plugin.load ${id}`, `plugin.start ${id}`]), "plugin.ready net", "server.start undefined",
  ].sort());
  const root = spans.find((span) => span.name === "server.start")!;
  expect(new Set(spans.filter((span) => span !== root).map((span) => span.parentSpanContext?.spanId))).toEqual(new Set([root.spanContext().spanId]));
  const ready = found("plugin.ready net");
  expect(ready.duration[0] * 1000 + ready.duration[1] / 1e6).toBeGreaterThanOrEqual(19);
  expect(Math.abs(ready.startTime[0] * 1000 + ready.startTime[1] / 1e6 - begun)).toBeLessThan(5000);
  expect(found("plugin.start broken")).toMatchObject({ status: { code: 2, message: "no cable" }, events: [{ name: "exception" }] });
  await kernel.restart("tapper");
  expect(exporter.getFinishedSpans().at(-1)).toMatchObject({ name: "plugin.start", parentSpanContext: undefined });
});

test("without an SDK there is no tracing; where the environment asks for it, a warning says what is missing", async () => {
  const warnings: string[] = [];
  expect(await createTracing((message) => warnings.push(message), {})).toBeUndefined();
  expect(await createTracing((message) => warnings.push(message), { OTEL_TRACES_EXPORTER: "otlp" })).toBeUndefined();
  expect(warnings).toEqual(['OTEL_TRACES_EXPORTER is set, but no OpenTelemetry SDK is registered: start with NODE_OPTIONS="--import FILE", where FILE registers one']);
});

test("without an SDK the API is not even loaded", () => {
  const script = `import { registerHooks } from "node:module";
    const loaded = [];
    registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context); } });
    const { createTracing } = await import(${JSON.stringify(join(import.meta.dirname, "tracing.ts"))});
    await createTracing(() => {});
    console.log(loaded.length, loaded.filter((url) => url.includes("opentelemetry")).length);`;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
  expect([stdout, stderr]).toEqual([expect.stringMatching(/^[1-9]\d* 0\n$/), ""]);
});
