/** Starts the DNS server: objects deployed, informers in, sockets open, the Service's endpoint published. */
import { readFile, writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import type { Logger } from "@k3s-p/plugin-api";
import { eventRecorder, type KubeClient } from "@k3s-p/plugin-api/kube";
import { publishListener } from "@k3s-p/plugin-api/kube/service-endpoint";
import type { Deployer, NodeInfo } from "@k3s-p/plugin-api/slots";
import { compileCorefile } from "./compile.ts";
import { configSource, NAMESPACE } from "./config-source.ts";
import { dnsMetrics, serveMetrics } from "./metrics.ts";
import { createResolver } from "./resolver.ts";
import { resolvConf } from "./resolv.ts";
import { listen } from "./server.ts";
import { createView } from "./view.ts";

export interface DnsOptions {
  readonly client: KubeClient;
  readonly deployer: Deployer;
  readonly node: NodeInfo;
  readonly log: Logger;
  /** Keeps the port over restarts, so that established rules stay right. */
  readonly stateDir: string;
  readonly address: string;
  /** 0 means any. */
  readonly port: number;
  readonly defer: (undo: () => void | Promise<void>) => void;
}

export interface RunningDns {
  readonly address: string;
  readonly port: number;
  /** The reason why answers are not as configured, if any. */
  healthy(): string | undefined;
}

const manifest = new URL("../../../manifests/coredns/coredns.yaml", import.meta.url);

export async function startDns(options: DnsOptions): Promise<RunningDns> {
  const { client, log, node, address, defer } = options;
  const recorder = eventRecorder(client, { component: "coredns", host: node.name });
  const view = createView(client);
  defer(() => view.stop());
  const source = configSource(client);
  defer(() => source.stop());
  const metrics = dnsMetrics(isIP(address) === 6 ? "2" : "1");
  const resolver = createResolver((error, name) => log.warn({ err: error, name }, "a query failed"), metrics.observe);
  let prometheus = false;
  const upstreams = resolvConf();
  let problem: string | undefined;

  const complain = (reason: string, message: string) => {
    log.warn({ reason }, message);
    const object = source.object();
    if (object) recorder.record(object, "Warning", reason, message);
  };
  const context = {
    view, dnsIps: node.cluster.clusterDns, resolvConf: upstreams, file: source.file, imports: source.imports,
    onLoop: (names: readonly string[]) => complain("ForwardingLoop", loopMessage(names)),
  };

  let inForce = "";
  function configure(): void {
    const corefile = source.corefile();
    const parts = JSON.stringify([corefile, source.imports("/etc/coredns/custom/*")]);
    resolver.invalidate();
    if (corefile === undefined || parts === inForce) return;
    inForce = parts;
    try {
      const compiled = compileCorefile(corefile, context);
      resolver.use(compiled);
      prometheus = compiled.blocks.some((block) => block.prometheus);
      problem = undefined;
      for (const warning of compiled.warnings) complain("UnsupportedDirective", warning);
      log.debug({ blocks: compiled.blocks.length }, "Corefile in force");
    } catch (error) {
      problem = `Corefile is not valid: ${(error as Error).message}; the last good one stays in force`;
      complain("InvalidCorefile", problem);
    }
  }

  const yaml = await readFile(manifest, "utf8");
  await Promise.all([options.deployer.deploy({ name: "coredns", yaml }), view.synced, source.synced]);
  configure();
  source.onChange(configure);
  view.onChange(() => resolver.invalidate());

  const portFile = join(options.stateDir, "port");
  const lastPort = Number(await readFile(portFile, "utf8").catch(() => "0"));
  const server = await listen(resolver, address, options.port, lastPort);
  defer(() => server.close());
  if (server.port !== lastPort) await writeFile(portFile, String(server.port));
  const figures = await serveMetrics(address, () => (prometheus ? metrics.text() : undefined));
  defer(() => figures.close());
  const endpoint = await publishListener(client, {
    namespace: NAMESPACE, service: "kube-dns", nodeName: node.name, address,
    ports: [{ name: "dns", port: server.port, protocol: "UDP" }, { name: "dns-tcp", port: server.port, protocol: "TCP" }, { name: "metrics", port: figures.port, protocol: "TCP" }],
  });
  defer(() => endpoint.stop());
  log.info({ address, port: server.port }, `DNS answers at ${address}:${server.port}`);
  return { address, port: server.port, healthy: () => problem };
}

const loopMessage = (names: readonly string[]): string =>
  `the upstream servers ${names.join(", ")} lead back to this server, so names outside the cluster get SERVFAIL; ` +
  "name other servers in /etc/resolv.conf or in the Corefile's forward";
