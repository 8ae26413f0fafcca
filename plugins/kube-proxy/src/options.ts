/** The plugin's options, and the upstream kube-proxy flags that K3s users pass with `--kube-proxy-arg`. */
import { k3spError } from "@k3s-p/plugin-api";

/** `ctx.config`, as config.schema.json has it. */
export interface ProxyConfig {
  readonly table?: string;
  readonly localhostNodePorts?: boolean;
  readonly kubeProxyArg?: readonly string[];
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface ProxySettings {
  readonly table: string;
  readonly localhostNodePorts: boolean;
  /** Undefined for no server. */
  readonly healthz: Address | undefined;
  readonly metrics: Address | undefined;
}

type Draft = { -readonly [K in keyof ProxySettings]: ProxySettings[K] };

/** As K3s, which leaves it to the operator to open this one to load balancers. */
const HEALTHZ: Address = { host: "127.0.0.1", port: 10256 };
const METRICS: Address = { host: "127.0.0.1", port: 10249 };

/** Flags that change something here, as `read` of arguments.json has them. */
export const flags: Readonly<Record<string, (draft: Draft, value: string) => void>> = {
  "healthz-bind-address": (d, v) => (d.healthz = address("healthz-bind-address", v, HEALTHZ)),
  "metrics-bind-address": (d, v) => (d.metrics = address("metrics-bind-address", v, METRICS)),
  "proxy-mode": (_d, v) => {
    if (v !== "nftables") throw k3spError("K3SP_FLAG_INVALID", { message: `--kube-proxy-arg proxy-mode: "${v}" is not supported`, detail: ["supported: nftables"] });
  },
};

export function proxySettings({ table = "k3sp-proxy", localhostNodePorts = true, kubeProxyArg = [] }: ProxyConfig): ProxySettings {
  const draft: Draft = { table, localhostNodePorts, healthz: HEALTHZ, metrics: METRICS };
  for (const arg of kubeProxyArg) {
    const [, name = "", value = ""] = /^-{0,2}([^=]+)=?(.*)$/s.exec(arg) ?? [];
    flags[name]?.(draft, value);
  }
  return draft;
}

/** `ip`, `ip:port`, or nothing for no server; port 0 means none too, as upstream. */
function address(flag: string, text: string, standard: Address): Address | undefined {
  if (text === "") return undefined;
  const [, host = "", port = String(standard.port)] = /^(\d+\.\d+\.\d+\.\d+|\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?$/.exec(text) ?? [];
  if (!host || Number(port) > 65_535) throw k3spError("K3SP_FLAG_INVALID", { message: `--kube-proxy-arg ${flag}: "${text}" is not an address`, detail: ["write it as IP or IP:PORT"] });
  return Number(port) === 0 ? undefined : { host: host.replace(/^\[|\]$/g, ""), port: Number(port) };
}
