/** Slots of the node's data plane: `cni`, `proxy`, `network-policy`, `kubelet`, `metrics`. */
import { defineSlot } from "../contract.ts";

/** A CNI network configuration list, as in the CNI specification 1.1. */
export interface CniConfList {
  /** The only one for runtimes that do not know `cniVersions`. */
  readonly cniVersion: string;
  /** All that each program of the list speaks; a runtime takes the highest that it knows. */
  readonly cniVersions?: readonly string[];
  readonly name: string;
  /** Runtimes must not call CHECK: for lists with a program that fails at it. */
  readonly disableCheck?: boolean;
  readonly plugins: readonly Readonly<Record<string, unknown>>[];
}

/**
 * `start` puts the list and the programs in place with `installCni` before it returns, or gives the whole network as
 * functions (`add`, `del`, `check`, `status`, `gc`) to `serveCni`; both are in `@k3s-p/plugin-api/cni`.
 */
export interface Cni {
  readonly confList: CniConfList;
  status(): Promise<{ readonly ready: boolean; readonly message?: string }>;
}
export const cni = defineSlot<Cni>("cni");

export interface Proxy {
  /** Resolves when the rules for everything known now are in the kernel. */
  synced(): Promise<void>;
}
export const proxy = defineSlot<Proxy>("proxy");

export interface NetworkPolicy {
  synced(): Promise<void>;
}
export const networkPolicy = defineSlot<NetworkPolicy>("network-policy");

export interface Kubelet {
  /** Port of the HTTPS server (logs, exec, stats). */
  readonly port: number;
}
export const kubelet = defineSlot<Kubelet>("kubelet");
