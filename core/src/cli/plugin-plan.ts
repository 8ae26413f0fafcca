/** `k3s-p plugin plan [--json]`: resolves and validates everything without running plugin code. */
import { planServer, type ServerPlan } from "../plan.ts";

export async function run(argv: readonly string[]): Promise<number> {
  const plan = await planServer(argv.filter((arg) => arg !== "--json"));
  process.stdout.write(argv.includes("--json") ? `${JSON.stringify(asJson(plan), null, 2)}\n` : asText(plan));
  return 0;
}

function asJson({ plan, configs }: ServerPlan) {
  return {
    plugins: plan.plugins.map((m) => ({
      id: m.id, version: m.version, from: m.source.label, provides: m.provides, after: plan.edges.get(m.id), config: configs.get(m.id),
    })),
    slots: Object.fromEntries(plan.choices.map((c) => [c.slot, { plugin: c.plugin, ...(c.replaces && { replaces: c.replaces }) }])),
    leftOut: plan.leftOut,
  };
}

function asText({ plan }: ServerPlan): string {
  const rows = plan.plugins.map((m) => {
    const slots = Object.keys(m.provides).join(",") || "-";
    const after = plan.edges.get(m.id)!.join(", ") || "-";
    return `${m.id.padEnd(20)} ${m.version.padEnd(9)} ${slots.padEnd(20)} ${after}`;
  });
  const replaced = plan.choices.filter((c) => c.replaces).map((c) => `${c.slot}: ${c.plugin} ${c.version} (replaces ${c.replaces})`);
  const left = plan.leftOut.map((l) => `${l.plugin}: left out (${l.why})`);
  return [`${"PLUGIN".padEnd(20)} ${"VERSION".padEnd(9)} ${"SLOT".padEnd(20)} AFTER`, ...rows, ...replaced, ...left, ""].join("\n");
}
