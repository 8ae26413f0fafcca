/** Starts the ingress: objects deployed, informers in, entry points open, the Service's endpoint published. */
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import type { Logger } from "@k3s-p/plugin-api";
import { eventRecorder, type KubeClient, secrets } from "@k3s-p/plugin-api/kube";
import { publishListener } from "@k3s-p/plugin-api/kube/service-endpoint";
import type { Deployer, KeyPair, NodeInfo, Pki } from "@k3s-p/plugin-api/slots";
import { createBackends } from "./backends.ts";
import { createCertificateStore } from "./certificates.ts";
import { ingressController, NAMESPACE, SERVICE } from "./controller.ts";
import { listenHttp, listenHttps } from "./listeners.ts";
import { createProxy } from "./proxy.ts";

export interface IngressConfig {
  readonly address?: string;
  readonly webPort: number;
  readonly websecurePort: number;
  readonly trustedIPs: readonly string[];
  readonly redirectToHttps: boolean;
}

export interface IngressOptions {
  readonly client: KubeClient;
  readonly deployer: Deployer;
  readonly node: NodeInfo;
  readonly pki: Pki;
  readonly log: Logger;
  readonly config: IngressConfig;
  readonly dataDir: string;
  /** Aborted when the ingress ends. */
  readonly signal: AbortSignal;
  readonly defer: (undo: () => void | Promise<void>) => void;
}

export interface RunningIngress {
  readonly httpPort: number;
  readonly httpsPort: number;
}

export const INGRESS_CLASS = "traefik";
const manifest = new URL("../../../manifests/traefik/traefik.yaml", import.meta.url);

export async function startIngress(options: IngressOptions): Promise<RunningIngress> {
  const { client, config, log, node, defer } = options;
  const recorder = eventRecorder(client, { component: "traefik", host: node.name });
  const backends = createBackends(client);
  defer(() => backends.stop());
  const controller = ingressController(client, INGRESS_CLASS, recorder);
  defer(() => controller.stop());
  const secretInformer = client.informer(secrets);
  defer(() => secretInformer.stop());

  const [fallback] = await Promise.all([
    defaultCertificate(options, (renewed) => {
      certificates.renew(renewed);
      websecure.renew();
      log.info("the default certificate has been renewed");
    }),
    readFile(manifest, "utf8").then((yaml) => options.deployer.deploy({ name: "traefik", yaml })),
    backends.synced, controller.synced, secretInformer.synced,
  ]);
  const certificates = createCertificateStore({
    ingresses: controller.own, secrets: secretInformer, fallback,
    onInvalid: (ingress, message) => recorder.record(ingress, "Warning", "InvalidCertificate", message),
  });
  controller.onChange(() => certificates.invalidate());
  const secretChanged = () => certificates.invalidate();
  secretInformer.on({ added: secretChanged, updated: secretChanged, deleted: secretChanged });

  const proxy = createProxy({
    routes: controller.routes, backends, trusted: config.trustedIPs, hostname: hostname(), redirectToHttps: config.redirectToHttps,
    onError: (error, target) => log.debug({ err: error, backend: `${target.host}:${target.port}` }, "a backend failed"),
  });
  defer(() => proxy.close());
  const address = config.address ?? node.ip;
  const web = await listenHttp(proxy, address, config.webPort);
  defer(() => web.close());
  const websecure = await listenHttps(proxy, certificates, address, config.websecurePort);
  defer(() => websecure.close());
  const endpoint = await publishListener(client, {
    namespace: NAMESPACE, service: SERVICE, nodeName: node.name, address,
    ports: [{ name: "web", port: web.port, protocol: "TCP" }, { name: "websecure", port: websecure.port, protocol: "TCP" }],
  });
  defer(() => endpoint.stop());
  log.info({ address, web: web.port, websecure: websecure.port }, `ingress answers at ${address}:${web.port} and ${websecure.port}`);
  return { httpPort: web.port, httpsPort: websecure.port };
}

/** What clients get for names that no Secret has a certificate for; renewed while the ingress runs. */
function defaultCertificate({ pki, dataDir, signal }: IngressOptions, onRenewed: (pair: KeyPair) => void): Promise<KeyPair> {
  const request = { name: "default", ca: "server-ca", commonName: "TRAEFIK DEFAULT CERT", usage: "server", sans: ["traefik.default"], dir: dataDir } as const;
  return pki.issue(request, { signal, onRenewed });
}
