/** Order of start in a dependency graph: parallel-friendly, deterministic, and honest about cycles. */
import { k3spError } from "@k3s-p/plugin-api";

/** Depth-first order with providers first; throws `K3SP_DEPENDENCY_CYCLE` with the path. */
export function startOrder(edges: ReadonlyMap<string, readonly string[]>): string[] {
  const order: string[] = [];
  const done = new Set<string>();
  const path: string[] = [];

  function visit(id: string): void {
    if (done.has(id)) return;
    const at = path.indexOf(id);
    if (at >= 0) {
      const cycle = [...path.slice(at), id].join(" -> ");
      throw k3spError("K3SP_DEPENDENCY_CYCLE", { message: `plugins need each other in a circle: ${cycle}` });
    }
    path.push(id);
    for (const next of edges.get(id) ?? []) visit(next);
    path.pop();
    done.add(id);
    order.push(id);
  }

  for (const id of [...edges.keys()].sort()) visit(id);
  return order;
}

export interface Timing {
  /** Milliseconds since boot when its needs were ready, and when it was ready itself. */
  readonly started: number;
  readonly ready: number;
}

/** The chain of plugins that decided when `last` was ready, with each one's own share in milliseconds. */
export function criticalPath(
  edges: ReadonlyMap<string, readonly string[]>,
  timings: ReadonlyMap<string, Timing>,
): readonly { readonly id: string; readonly ms: number }[] {
  const readyAt = (id: string): number => timings.get(id)?.ready ?? 0;
  const latest = (ids: Iterable<string>): string | undefined => {
    let best: string | undefined;
    for (const id of ids) if (timings.has(id) && (best === undefined || readyAt(id) > readyAt(best))) best = id;
    return best;
  };
  const chain: { id: string; ms: number }[] = [];
  for (let id = latest(timings.keys()); id !== undefined; id = latest(edges.get(id) ?? [])) {
    const t = timings.get(id)!;
    chain.unshift({ id, ms: t.ready - t.started });
  }
  return chain;
}
