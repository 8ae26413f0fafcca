/** Slots of cluster services: `scheduler`, `controller-manager`, `dns`, `ingress`, `loadbalancer`, `storage`, `metrics`, `deployer`. */
import { defineSlot } from "../contract.ts";

export interface Scheduler {
  readonly schedulerName: string;
}
export const scheduler = defineSlot<Scheduler>("scheduler");

export interface ControllerManager {
  /** Names of the controllers that run. */
  readonly controllers: readonly string[];
}
export const controllerManager = defineSlot<ControllerManager>("controller-manager");

export interface Dns {
  /** Where the server answers on this node; the Service's ClusterIP leads here. */
  readonly address: string;
  readonly port: number;
}
export const dns = defineSlot<Dns>("dns");

export interface Ingress {
  /** Ports on the node's address that the ingress's Service leads to. */
  readonly httpPort: number;
  /** Absent when it does not terminate TLS. */
  readonly httpsPort?: number;
  readonly ingressClass: string;
}
export const ingress = defineSlot<Ingress>("ingress");

export interface LoadBalancer {
  readonly loadBalancerClass: string;
}
export const loadbalancer = defineSlot<LoadBalancer>("loadbalancer");

export interface Storage {
  readonly provisioner: string;
}
export const storage = defineSlot<Storage>("storage");

export interface Metrics {
  readonly port: number;
}
export const metrics = defineSlot<Metrics>("metrics");

export interface Addon {
  /** AddOn name, as the file's base name: `coredns`. */
  readonly name: string;
  /** YAML, with `%{CLUSTER_DNS}%`-style variables replaced by the deployer. */
  readonly yaml: string;
}

export interface Deployer {
  /** Writes `server/manifests/<name>.yaml`, applies it, and resolves when all its objects exist. */
  deploy(addon: Addon): Promise<void>;
  /** Deletes the AddOn's objects, its file and the AddOn. */
  remove(name: string): Promise<void>;
}
export const deployer = defineSlot<Deployer>("deployer");
