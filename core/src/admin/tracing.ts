/**
 * OpenTelemetry spans of plugins: `plugin.load`, `plugin.start`, `plugin.ready`, and `hook:NAME/PLUGIN` for each tap. They
 * go to the SDK that is registered in this process when the server starts, as `NODE_OPTIONS="--import ./tracing.js"` does
 * it; where there is none, not even the API is loaded.
 */
import type { Context, Span as OtelSpan, Tracer } from "@opentelemetry/api";
import type { OnSpan, Span } from "../kernel/span.ts";
import { version } from "../version.ts";

export interface Tracing {
  readonly record: OnSpan;
  /** The start of the server is over: its span ends, and what comes later stands alone. */
  readonly started: (error?: Error) => void;
}

/** Under this name every copy of the API keeps what is registered (its major version 1). */
const registry = Symbol.for("opentelemetry.js.api.1");
const isRegistered = (): boolean => (globalThis as unknown as Record<symbol, { trace?: unknown } | undefined>)[registry]?.trace !== undefined;

export async function createTracing(warn: (message: string) => void, env: Readonly<Record<string, string | undefined>> = process.env): Promise<Tracing | undefined> {
  if (!isRegistered()) {
    const wanted = ["OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"].find((name) => env[name] && env[name] !== "none");
    if (wanted) warn(`${wanted} is set, but no OpenTelemetry SDK is registered: start with NODE_OPTIONS="--import FILE", where FILE registers one`);
    return undefined;
  }
  const { ROOT_CONTEXT, SpanStatusCode, trace } = await import("@opentelemetry/api");
  const tracer = trace.getTracer("k3s-p", version);
  const boot = tracer.startSpan("server.start", { startTime: timeOf(performance.now()) }, ROOT_CONTEXT);
  let parent: Context = trace.setSpan(ROOT_CONTEXT, boot);
  const fail = (span: OtelSpan, error: Error): void => {
    span.recordException(error);
    span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
  };
  return {
    record(span) {
      const made = begin(tracer, span, parent);
      if (span.error) fail(made, span.error);
      made.end(timeOf(span.ended));
    },
    started(error) {
      if (error) fail(boot, error);
      boot.end();
      parent = ROOT_CONTEXT;
    },
  };
}

const begin = (tracer: Tracer, { step, hook, plugin, started }: Span, parent: Context): OtelSpan =>
  tracer.startSpan(hook ? `hook:${hook}/${plugin}` : `plugin.${step}`, {
    startTime: timeOf(started), attributes: { "k3sp.plugin": plugin, ...(hook && { "k3sp.hook": hook }) },
  }, parent);

const timeOf = (ms: number): number => performance.timeOrigin + ms;
