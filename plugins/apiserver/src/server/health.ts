/** `/livez`, `/readyz` and `/healthz` with named checks, `?verbose` and `?exclude`. */
import type { HealthCheck } from "@k3s-p/plugin-api/points";
import type { Route } from "./handler.ts";
import type { ApiRequest, ApiResponse } from "./request.ts";
import { sendText } from "./respond.ts";

type Endpoint = "livez" | "readyz" | "healthz";

export interface HealthOptions {
  /** Checks of the server itself, by endpoint, and those that plugins contribute (in `readyz` and `healthz`). */
  readonly checks: (endpoint: Endpoint) => readonly HealthCheck[];
}

const CHECK_TIMEOUT = 5000;

export function healthRoutes(options: HealthOptions): (path: string) => Route | undefined {
  return (path) => {
    const [, endpoint, ...rest] = path.split("/");
    const name = rest.join("/");
    if (endpoint !== "livez" && endpoint !== "readyz" && endpoint !== "healthz") return undefined;
    return (req, res) => answer(options.checks(endpoint), endpoint, name, req, res);
  };
}

interface Finding {
  readonly name: string;
  readonly ok: boolean;
  readonly excluded: boolean;
  readonly message: string;
}

async function answer(checks: readonly HealthCheck[], endpoint: Endpoint, only: string, req: ApiRequest, res: ApiResponse): Promise<void> {
  const excluded = new Set(req.query.getAll("exclude"));
  const wanted = only ? checks.filter((check) => check.name === only) : checks;
  if (only && wanted.length === 0) return sendText(res, 404, "404 page not found\n");
  const findings = await Promise.all(wanted.map((check) => run(check, excluded.has(check.name))));
  if (only) return findings[0]!.ok ? sendText(res, 200, "ok") : sendText(res, 500, `internal server error: ${findings[0]!.message}\n`);
  const failed = findings.some((finding) => !finding.ok);
  if (!failed && !req.query.has("verbose")) return sendText(res, 200, "ok");
  const unknown = [...excluded].filter((name) => !checks.some((check) => check.name === name));
  const lines = findings.map((f) => (f.excluded ? `[+]${f.name} excluded: ok` : f.ok ? `[+]${f.name} ok` : `[-]${f.name} failed: ${f.message}`));
  if (unknown.length > 0) lines.push(`warn: some health checks cannot be excluded: no matches for ${unknown.map((n) => JSON.stringify(n)).join(", ")}`);
  lines.push(`${endpoint} check ${failed ? "failed" : "passed"}`);
  return sendText(res, failed ? 500 : 200, `${lines.join("\n")}\n`);
}

async function run(check: HealthCheck, excluded: boolean): Promise<Finding> {
  if (excluded) return { name: check.name, ok: true, excluded, message: "" };
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<{ ok: boolean; message: string }>((resolve) => {
    timer = setTimeout(() => resolve({ ok: false, message: "no answer within 5 s" }), CHECK_TIMEOUT);
  });
  try {
    const { ok, message = "reason withheld" } = await Promise.race([check.check(), late]);
    return { name: check.name, ok, excluded, message };
  } catch (error) {
    return { name: check.name, ok: false, excluded, message: (error as Error).message };
  } finally {
    clearTimeout(timer);
  }
}
