/** `k3s-p plugin plan [--agent] [--json]`: resolves and validates everything without running plugin code. */
import { lockFile, openApprovals, type Approval } from "../approval/approvals.ts";
import { describeRights, rightsOf } from "../approval/rights.ts";
import { planFrom, readSettings, type NodePlan } from "../plan.ts";

export const usage = "plugin plan [--agent] [--json] [FLAGS OF THE SERVER OR AGENT]";

/** What an agent takes over from its server is not in it: nobody is asked. */
export async function run(argv: readonly string[]): Promise<number> {
  const role = argv.includes("--agent") ? "agent" : "server";
  const plan = await planFrom(readSettings(argv.filter((arg) => arg !== "--json" && arg !== "--agent"), process.env, role), { role });
  process.stdout.write(argv.includes("--json") ? `${JSON.stringify(asJson(plan), null, 2)}\n` : asText(plan));
  return 0;
}

function asJson({ plan, configs, node }: NodePlan) {
  const approvals = openApprovals(lockFile(node.paths));
  return {
    plugins: plan.plugins.map((m) => ({
      id: m.id, version: m.version, from: m.source.label, source: { kind: m.source.kind, path: m.source.path, entry: m.entry }, isolation: m.isolation,
      provides: m.provides, after: plan.edges.get(m.id), permissions: rightsOf(m), approval: approvalJson(approvals.of(m)), config: configs.get(m.id),
    })),
    slots: Object.fromEntries(plan.choices.map((c) => [c.slot, { plugin: c.plugin, ...(c.replaces && { replaces: c.replaces }) }])),
    leftOut: plan.leftOut,
  };
}

const approvalJson = ({ state, added }: Approval) => ({ state, ...(added.length && { added }) });

function asText({ plan, node }: NodePlan): string {
  const approvals = openApprovals(lockFile(node.paths));
  const others = plan.plugins.filter((m) => m.source.kind === "user").flatMap((m) => {
    const { state, added } = approvals.of(m);
    return [
      `${m.id}: from ${m.source.label}; ${state === "new" ? "not started before" : state}; it may: ${describeRights(rightsOf(m)).join("; ") || "nothing beside its own folders"}`,
      ...(added.length ? [`${m.id}: not approved: ${describeRights(added).join("; ")} (k3s-p plugin approve ${m.id})`] : []),
    ];
  });
  const rows = plan.plugins.map((m) => {
    const slots = Object.keys(m.provides).join(",") || "-";
    const after = plan.edges.get(m.id)!.join(", ") || "-";
    return `${m.id.padEnd(20)} ${m.version.padEnd(9)} ${slots.padEnd(20)} ${after}`;
  });
  const replaced = plan.choices.filter((c) => c.replaces).map((c) => `${c.slot}: ${c.plugin} ${c.version} (replaces ${c.replaces})`);
  const left = plan.leftOut.map((l) => `${l.plugin}: left out (${l.why})`);
  return [`${"PLUGIN".padEnd(20)} ${"VERSION".padEnd(9)} ${"SLOT".padEnd(20)} AFTER`, ...rows, ...replaced, ...others, ...left, ""].join("\n");
}
