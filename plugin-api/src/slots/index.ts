/** Every slot of this version, and the catalogue that the resolver walks. */
import { node, pki, runner } from "../refs.ts";
import type { Slot } from "../contract.ts";
import { apiserver, kube } from "./apiserver.ts";
import { controllerManager, deployer, dns, ingress, loadbalancer, metrics, scheduler, storage } from "./cluster.ts";
import { datastore } from "./datastore.ts";
import { cni, kubelet, networkPolicy, proxy } from "./node.ts";
import { runtime } from "./runtime.ts";

export * from "../refs.ts";
export * from "./apiserver.ts";
export * from "./cluster.ts";
export * from "./datastore.ts";
export * from "./node.ts";
export * from "./runtime.ts";

export const slotCatalogue: readonly Slot<unknown>[] = [
  apiserver, cni, controllerManager, datastore, deployer, dns, ingress, kube, kubelet, loadbalancer, metrics,
  networkPolicy, node, pki, proxy, runner, runtime, scheduler, storage,
];

/** Slots that the kernel fills itself. */
export const kernelSlots: readonly string[] = ["node", "pki", "runner"];
