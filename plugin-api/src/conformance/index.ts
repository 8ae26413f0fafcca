/** Every suite that applies to a plugin: the lifecycle of all, and the promises of the slot that it provides. */
import { apiserverSuite } from "./apiserver.ts";
import { cniSuite } from "./cni.ts";
import { controllerManagerSuite } from "./controller-manager.ts";
import { datastoreSuite } from "./datastore.ts";
import { deployerSuite } from "./deployer.ts";
import { dnsSuite } from "./dns.ts";
import { ingressSuite } from "./ingress.ts";
import { kubeletSuite } from "./kubelet.ts";
import { lifecycleSuite } from "./lifecycle.ts";
import { loadbalancerSuite } from "./loadbalancer.ts";
import { metricsSuite } from "./metrics.ts";
import { networkPolicySuite } from "./network-policy.ts";
import { proxySuite } from "./proxy.ts";
import { runtimeSuite } from "./runtime.ts";
import { schedulerSuite } from "./scheduler.ts";
import { storageSuite } from "./storage.ts";
import type { Subject } from "./subject.ts";
import type { ConformanceTest } from "./suite.ts";

export type SuiteFactory = (subject: Subject) => readonly ConformanceTest[];

/** Slots without an entry promise nothing that can be tried from outside beyond the lifecycle. */
export const slotSuites: Readonly<Record<string, SuiteFactory>> = {
  apiserver: apiserverSuite, cni: cniSuite, "controller-manager": controllerManagerSuite, datastore: datastoreSuite, deployer: deployerSuite,
  dns: dnsSuite, ingress: ingressSuite, kubelet: kubeletSuite, loadbalancer: loadbalancerSuite, metrics: metricsSuite,
  "network-policy": networkPolicySuite, proxy: proxySuite, runtime: runtimeSuite, scheduler: schedulerSuite, storage: storageSuite,
};

export interface NamedSuite {
  /** `lifecycle`, or the slot's id. */
  readonly name: string;
  readonly tests: readonly ConformanceTest[];
}

export function suitesFor(subject: Subject): readonly NamedSuite[] {
  const own = subject.provides.filter((slot) => slot in slotSuites).map((slot) => ({ name: slot, tests: slotSuites[slot]!(subject) }));
  return [{ name: "lifecycle", tests: lifecycleSuite(subject) }, ...own];
}
