/** The plugin's options, and the upstream kubelet flags that K3s users pass with `--kubelet-arg`. */
import { isIP } from "node:net";
import { k3spError } from "@k3s-p/plugin-api";
import type { VerificationPolicy } from "./pull-records.ts";
import { evictionOptions, type EvictionFlags, type EvictionOptions } from "./thresholds.ts";

/** `ctx.config`, as config.schema.json has it. */
export interface KubeletConfig {
  readonly port: number;
  readonly maxPods: number;
  readonly kubeletArg: readonly string[];
  readonly resolvConf: string;
  readonly evictionPercent: number;
  readonly imageGcHighPercent: number;
  readonly imageGcLowPercent: number;
  readonly containerLogMaxSize: string;
  readonly containerLogMaxFiles: number;
  readonly imagePullCredentialsVerificationPolicy: VerificationPolicy;
  readonly preloadedImagesVerificationAllowlist: readonly string[];
}

export interface KubeletOptions extends Omit<KubeletConfig, "kubeletArg" | "containerLogMaxSize" | "evictionPercent"> {
  /** Bytes. */
  readonly logMaxBytes: number;
  /** Static pods; default `agent/pod-manifests`. */
  readonly podManifests: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly string[];
  readonly allowedUnsafeSysctls: readonly string[];
  /** The cgroup that `kubepods` lies in; empty for the topmost one. */
  readonly cgroupRoot: string;
  /** The Node's `spec.providerID`, when not K3s's. */
  readonly providerId: string | undefined;
  /** A cloud controller of the user's own looks after the Node. */
  readonly externalCloud: boolean;
  /** Plain HTTP, for the node itself; 0 for none. */
  readonly healthzPort: number;
  readonly healthzHost: string;
  readonly eviction: EvictionOptions;
}

type Draft = { -readonly [K in keyof KubeletOptions]: KubeletOptions[K] } & { readonly evictionFlags: EvictionFlags };

/** Flags that change something here, as `read` of arguments.json has them. */
export const flags: Readonly<Record<string, (draft: Draft, value: string) => void>> = {
  port: (d, v) => (d.port = whole("port", v)),
  "max-pods": (d, v) => (d.maxPods = whole("max-pods", v)),
  "pod-manifest-path": (d, v) => (d.podManifests = v),
  "resolv-conf": (d, v) => (d.resolvConf = v),
  "node-labels": (d, v) => (d.labels = { ...d.labels, ...pairs(v) }),
  "register-with-taints": (d, v) => (d.taints = [...d.taints, ...v.split(",")]),
  "allowed-unsafe-sysctls": (d, v) => (d.allowedUnsafeSysctls = [...d.allowedUnsafeSysctls, ...v.split(",")]),
  "cgroup-root": (d, v) => (d.cgroupRoot = v),
  "provider-id": (d, v) => (d.providerId = v),
  "healthz-port": (d, v) => (d.healthzPort = whole("healthz-port", v)),
  "healthz-bind-address": (d, v) => (d.healthzHost = ip("healthz-bind-address", v)),
  "cloud-provider": (d, v) => (d.externalCloud = external(v)),
  "image-gc-high-threshold": (d, v) => (d.imageGcHighPercent = whole("image-gc-high-threshold", v)),
  "image-gc-low-threshold": (d, v) => (d.imageGcLowPercent = whole("image-gc-low-threshold", v)),
  "container-log-max-files": (d, v) => (d.containerLogMaxFiles = whole("container-log-max-files", v)),
  "container-log-max-size": (d, v) => (d.logMaxBytes = bytes(v)),
  "eviction-hard": (d, v) => (d.evictionFlags.hard = v),
  "eviction-soft": (d, v) => (d.evictionFlags.soft = v),
  "eviction-soft-grace-period": (d, v) => (d.evictionFlags.softGrace = v),
  "eviction-minimum-reclaim": (d, v) => (d.evictionFlags.minReclaim = v),
  "eviction-pressure-transition-period": (d, v) => (d.evictionFlags.transition = v),
  "eviction-max-pod-grace-period": (d, v) => (d.evictionFlags.maxPodGrace = String(whole("eviction-max-pod-grace-period", v))),
};

export function kubeletOptions(config: KubeletConfig): KubeletOptions {
  const { kubeletArg, containerLogMaxSize, evictionPercent, ...rest } = config;
  const draft: Draft = {
    ...rest, logMaxBytes: bytes(containerLogMaxSize), podManifests: undefined, labels: {}, taints: [],
    allowedUnsafeSysctls: ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"], cgroupRoot: "",
    providerId: undefined, externalCloud: false, healthzPort: 10248, healthzHost: "127.0.0.1",
    eviction: evictionOptions({}, evictionPercent), evictionFlags: {},
  };
  for (const arg of kubeletArg) applyArg(draft, arg);
  const { evictionFlags, ...options } = draft;
  return Object.freeze({ ...options, eviction: evictionOptions(evictionFlags, evictionPercent) });
}

function applyArg(draft: Draft, arg: string): void {
  const [, name = "", value = ""] = /^-{0,2}([^=]+)=?(.*)$/s.exec(arg) ?? [];
  flags[name]?.(draft, value);
}

function whole(name: string, value: string): number {
  if (/^\d+$/.test(value)) return Number(value);
  throw k3spError("K3SP_FLAG_INVALID", { message: `--kubelet-arg ${name}: "${value}" is not a whole number` });
}

function ip(name: string, value: string): string {
  if (isIP(value)) return value;
  throw k3spError("K3SP_FLAG_INVALID", { message: `--kubelet-arg ${name}: "${value}" is not an IP address` });
}

function external(value: string): boolean {
  if (value === "external" || value === "") return value === "external";
  throw k3spError("K3SP_FLAG_INVALID", { message: `--kubelet-arg cloud-provider: "${value}" is not supported`, detail: ["supported: external"] });
}

const units: Readonly<Record<string, number>> = { "": 1, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, k: 1e3, M: 1e6, G: 1e9 };

function bytes(text: string): number {
  const match = /^(\d+)(Ki|Mi|Gi|k|M|G)?$/.exec(text);
  if (match) return Number(match[1]) * units[match[2] ?? ""]!;
  throw k3spError("K3SP_FLAG_INVALID", { message: `container-log-max-size: "${text}" is not a quantity` });
}

const pairs = (text: string): Record<string, string> =>
  Object.fromEntries(text.split(",").filter(Boolean).map((p) => [p.split("=")[0]!, p.split("=").slice(1).join("=")]));
