/** Puts the kubelet together: who knows what, and who is told when something changes. */
import { conditionIsTrue, eventRecorder, isConflict, isNotFound, pods, runtimeClasses, services as serviceResource, type Pod } from "@k3s-p/plugin-api/kube";
import type { Informer, KubeClient, Service } from "@k3s-p/plugin-api/kube";
import { makeFolder, type Logger } from "@k3s-p/plugin-api";
import { servePages } from "@k3s-p/plugin-api/pages";
import type { NodeInfo, Pki, Runner, Runtime } from "@k3s-p/plugin-api/slots";
import { readFileSync } from "node:fs";
import { backoff } from "./backoff.ts";
import { cgroups, type Cgroups } from "./cgroups.ts";
import { systemClock } from "./clock.ts";
import type { KubeletContext } from "./context.ts";
import { hostDns } from "./dns.ts";
import { images, recordsOf } from "./images.ts";
import { kubeletFigures, type Figures } from "./figures.ts";
import { housekeeping } from "./housekeeping.ts";
import { admitPod, refuseResize, type AdmissionInput } from "./node-admission.ts";
import { readMachine } from "./node/machine.ts";
import { runtimeHealth } from "./node/network.ts";
import { nodeAgent, type NodeAgent } from "./node/node-agent.ts";
import { referencedObjects } from "./objects.ts";
import type { KubeletOptions } from "./options.ts";
import { podManager, type PodManager } from "./pod-manager.ts";
import { nameOf, namespaceOf } from "./pod.ts";
import type { PodServices } from "./pod-services.ts";
import { probes } from "./probes/probes.ts";
import { runtimeView } from "./runtime-view.ts";
import { kubeletServer } from "./server/server.ts";
import { stats } from "./server/stats.ts";
import { statusManager } from "./status-manager.ts";
import { mounter } from "./volumes/mounts.ts";
import type { PressureCondition } from "./thresholds.ts";
import { tokenSource } from "./volumes/payload.ts";
import { volumes } from "./volumes/volumes.ts";

export interface KubeletInput {
  readonly node: NodeInfo;
  readonly kube: KubeClient;
  readonly runtime: Runtime;
  readonly runner: Runner;
  readonly pki: Pki;
  readonly log: Logger;
  readonly options: KubeletOptions;
  readonly signal: AbortSignal;
  /** Undo steps, run last first on stop and after a start that failed. */
  readonly defer: (undo: () => void | Promise<void>) => void;
  /** Calls `fn` when the runtime has another provider, or the same one after a restart. */
  readonly onRuntimeReplaced: (fn: () => void) => void;
}

export interface RunningKubelet {
  readonly port: number;
  /** Undefined while the runtime answers. */
  problem(): string | undefined;
}

export async function startKubelet(input: KubeletInput): Promise<RunningKubelet> {
  const { node, kube, runner, log, options, signal, defer } = input;
  const figures = kubeletFigures();
  const runtime = figures.recorded(input.runtime);
  const clock = systemClock();
  defer(() => clock.stop());
  const events = eventRecorder(kube, { component: "kubelet", host: node.name });
  const ctx: KubeletContext = { node, kube, runtime, runner, log, clock, options, events, figures, cgroupRoot: "/sys/fs/cgroup" };
  await makeFolder(node.paths.kubelet, 0o750);
  const machine = await readMachine({ maxPods: options.maxPods, nodefs: node.paths.kubelet, thresholds: options.eviction.thresholds });
  const { runtimeName, runtimeVersion } = await runtime.version();

  let manager: PodManager | undefined;
  let agent: NodeAgent | undefined;
  const wake = (uid: string): void => manager?.worker(uid)?.wake();
  const health = runtimeHealth(ctx, () => {
    manager?.wakeAll();
    void agent?.sync();
  });
  defer(() => health.stop());
  const serviceInformer = kube.informer(serviceResource);
  defer(() => serviceInformer.stop());
  const services = podServices(ctx, {
    wake, health, serviceInformer, memory: machine.memoryBytes, allocatable: machine.allocatable, hostDns: await hostDns(options.resolvConf),
    refresh: (uid) => manager?.worker(uid)?.refresh(),
    manager: () => manager!, agent: () => agent!, pressure: () => keeper.pressure(), defer,
  });
  await services.cgroups.prepare(machine.milliCpu);
  manager = podManager(services, options.podManifests ?? node.paths.podManifests);
  defer(() => manager?.stop());
  const figuresOfNode = stats(services, manager);
  const keeper = housekeeping(services, manager, figuresOfNode, (reason, message) => events.record(agent!.reference(), "Warning", reason, message));
  const server = await kubeletServer({ services, manager, pki: input.pki, options, stats: figuresOfNode });
  defer(() => server.close());
  if (options.healthzPort !== 0) defer(serveHealthz(options, log));
  agent = nodeAgent(ctx, machine, () => server.port, async () => ({
    images: await runtime.listImages().catch(() => []), runtimeVersion: `${runtimeName}://${runtimeVersion}`,
    problem: health.nodeProblem(conditionIsTrue(agent?.node()?.status?.conditions, "Ready")), ...keeper.state(),
  }), async () => {
    await health.check();
    await keeper.check();
  });
  defer(() => agent?.stop());
  input.onRuntimeReplaced(() => {
    services.view.resume();
    void health.check();
  });
  // Services are in the environment of every container: the first one must not be without.
  for (const step of [health.check, services.view.start, agent.start, () => serviceInformer.synced, manager.start]) {
    signal.throwIfAborted();
    await step();
  }
  return { port: server.port, problem: health.runtimeProblem };
}

/** Returns what ends it. */
function serveHealthz({ healthzHost: host, healthzPort: port }: KubeletOptions, log: Logger): () => Promise<void> {
  const pages = servePages({ "/healthz": () => ({ body: "ok" }) }, { host, port, name: "kubelet healthz", log });
  return () => pages.close();
}

interface Wiring {
  readonly wake: (uid: string) => void;
  readonly refresh: (uid: string) => void;
  readonly health: { networkProblem(): string | undefined };
  readonly serviceInformer: Informer<Service>;
  readonly memory: number;
  readonly allocatable: Readonly<Record<string, string>>;
  readonly hostDns: PodServices["hostDns"];
  readonly manager: () => PodManager;
  readonly agent: () => NodeAgent;
  readonly pressure: () => readonly PressureCondition[];
  readonly defer: KubeletInput["defer"];
}

function podServices(ctx: KubeletContext, wiring: Wiring): PodServices {
  const { kube, node, clock, runner, options, figures } = ctx;
  const { allocatable, serviceInformer, defer } = wiring;
  const objects = referencedObjects(kube, wiring.refresh);
  defer(() => objects.stop());
  const mounts = mounter(runner);
  const tokens = tokenSource(kube, clock);
  const status = statusManager(ctx);
  const view = runtimeView(ctx, wiring.wake);
  defer(() => view.stop());
  const apiUid = (pod: Pod): string | undefined => wiring.manager().apiObject(pod)?.metadata.uid;
  const appArmor = isAppArmorEnabled();
  const pulls = images({ ...ctx, records: recordsOf(ctx), secret: objects.secret, pulled: () => void wiring.agent().sync() });
  function ask<T>(question: (input: AdmissionInput) => T | undefined, pod: Pod): T | undefined {
    const self = wiring.agent().node();
    const active = wiring.manager().active().filter((other) => other.metadata.uid !== pod.metadata.uid);
    return self && question({
      pod, node: self, active, maxPods: options.maxPods, allowedSysctls: options.allowedUnsafeSysctls, appArmor, pressure: wiring.pressure(),
    });
  }
  return {
    ...ctx, objects, mounts, view,
    probes: probes(ctx, wiring.wake),
    images: pulls,
    volumes: volumes({
      node, kube, clock, figures, mounts, objects, tokens, allocatable: () => allocatable, image: pulls.ensureVolume, mountImage: ctx.runtime.mountImage,
    }),
    cgroups: timedCgroups(cgroups(ctx.cgroupRoot, options.cgroupRoot), figures),
    restartBackoff: backoff(clock),
    hostDns: wiring.hostDns,
    memoryCapacity: wiring.memory,
    allocatable: () => allocatable,
    servicesFor: (namespace) => [...serviceInformer.list("default"), ...(namespace === "default" ? [] : serviceInformer.list(namespace))],
    runtimeHandler: async (name) => (await kube.get(runtimeClasses, name)).handler,
    networkProblem: wiring.health.networkProblem,
    admit: (pod) => ask(admitPod, pod),
    refuseResize: (pod) => ask(refuseResize, pod),
    roomMade: () => wiring.manager().roomMade(),
    publish(pod, next) {
      const object = wiring.manager().apiObject(pod);
      if (object) status.publish(object, next);
    },
    published: (pod) => status.flush(apiUid(pod) ?? ""),
    async deleteFromApi(pod) {
      const options = { namespace: namespaceOf(pod), gracePeriodSeconds: 0, preconditions: { uid: pod.metadata.uid! } };
      await kube.delete(pods, nameOf(pod), options).catch((error: unknown) => {
        if (!isNotFound(error) && !isConflict(error)) throw error;
      });
    },
    forget(uid) {
      status.forget(uid);
      figures.forgetPod(uid);
    },
  };
}

const timedCgroups = (groups: Cgroups, figures: Figures): Cgroups => ({
  ...groups,
  ensurePod: (pod, from) => figures.timed("cgroup", { operation_type: "update" }, () => groups.ensurePod(pod, from)),
  removePod: (uid) => figures.timed("cgroup", { operation_type: "destroy" }, () => groups.removePod(uid)),
});

function isAppArmorEnabled(file = "/sys/module/apparmor/parameters/enabled"): boolean {
  try {
    return readFileSync(file, "utf8").startsWith("Y");
  } catch {
    return false;
  }
}
