/** Fills the `proxy` slot: Service addresses and node ports as one nftables table. */
import { definePlugin, k3spError, parseCidr, type PluginContext } from "@k3s-p/plugin-api";
import { kube, node, proxy, runner, type Runner } from "@k3s-p/plugin-api/slots";
import { servePages, type PageTable } from "@k3s-p/plugin-api/pages";
import { healthPorts } from "./health-ports.ts";
import { openNft } from "./nft.ts";
import { proxySettings, type Address, type ProxyConfig } from "./options.ts";
import { startProxy, type StaleFlow } from "./proxy.ts";
import { createTable } from "./table.ts";
import { proxyWatch } from "./watch.ts";

const needs = { kube, node, runner };
type Context = PluginContext<typeof needs, {}, ProxyConfig>;

export default definePlugin<typeof proxy, typeof needs, {}, ProxyConfig>({
  provides: proxy,
  needs,
  async start(ctx) {
    const { name, cluster } = ctx.needs.node;
    checkFamily(cluster.serviceCidr[0]!);
    if (process.getuid?.() !== 0) {
      throw k3spError("K3SP_ROOT_REQUIRED", { message: "kube-proxy writes nftables rules", fix: "run the server as root, or without a node: --disable-agent" });
    }
    const { table: tableName, localhostNodePorts, healthz, metrics } = proxySettings(ctx.config);
    const clusterCidr = cluster.clusterCidr[0]!;
    const table = createTable({ name: tableName, clusterCidr, serviceCidr: cluster.serviceCidr[0]!, localhostNodePorts });
    const nft = openNft(ctx.needs.runner, ctx.log);
    ctx.defer(() => nft.stop());
    const watch = proxyWatch();
    const health = healthPorts({ log: ctx.log, isHealthy: watch.isHealthy });
    ctx.defer(() => health.stop());
    if (localhostNodePorts) await routeLocalnet(ctx);
    const running = startProxy({
      kube: ctx.needs.kube, context: { nodeName: name, clusterCidr }, table, tableName, nft, health, watch, log: ctx.log,
      forgetFlows: (flows) => forgetFlows(ctx.needs.runner, flows),
    });
    // Rules stay over a restart, and with them connections; but not when nobody will look after them.
    ctx.defer((why) => (why === "retired" ? nft.apply(`delete table ip ${tableName}`) : undefined));
    ctx.defer(() => running.stop());
    serve(ctx, "kube-proxy healthz", healthz, watch.healthPages(running.isEligible));
    serve(ctx, "kube-proxy metrics", metrics, watch.metricPages());
    return { synced: () => running.synced() };
  },
  ready: (impl) => impl.synced(),
});

/** Upstream's proxy serves IPv6, too. */
function checkFamily(serviceCidr: string): void {
  if (parseCidr(serviceCidr)?.family === 4) return;
  throw k3spError("K3SP_CONFIG_INVALID", {
    message: `service-cidr: ${serviceCidr} is not of IPv4, and kube-proxy serves nothing else here`, plugin: "kube-proxy",
    fix: "give --service-cidr and --cluster-cidr an IPv4 network first, or bring another proxy with --plugin",
  });
}

function serve(ctx: Context, name: string, address: Address | undefined, table: PageTable): void {
  if (!address) return;
  const pages = servePages(table, { ...address, name, log: ctx.log });
  ctx.defer(() => pages.close());
}

/** Lets a connection to 127.0.0.1 be led to a pod; the table guards what listens on 127.0.0.1 from neighbours. */
async function routeLocalnet(ctx: Context): Promise<void> {
  const { code, stderr } = await ctx.needs.runner.run("sh", ["-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet"]);
  if (code !== 0) ctx.log.warn({ error: stderr.trim() }, "node ports will not answer on 127.0.0.1");
}

/** Best effort: conntrack ends with 1 when there was no such flow, and may not be installed. */
async function forgetFlows(runner: Runner, flows: readonly StaleFlow[]): Promise<void> {
  await Promise.all(flows.map(({ address, port, endpoint }) => {
    const to = address ? ["--orig-dst", address] : [];
    const via = endpoint ? ["--dst-nat", endpoint] : [];
    return runner.run("conntrack", ["-D", "-p", "udp", ...to, "--dport", String(port), ...via]);
  }));
}
