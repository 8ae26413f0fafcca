/** Renders containerd's configuration: version 2 for containerd 1.x, version 3 for 2.x. */

export interface ContainerdSettings {
  /** Major version of the containerd program. */
  readonly major: number;
  readonly root: string;
  readonly state: string;
  readonly socket: string;
  readonly sandboxImage: string;
  readonly snapshotter: string;
  /** Runtimes by handler name, each with its program; `runc` always means the default kind of runtime. */
  readonly runtimes: Readonly<Record<string, string>>;
  readonly defaultRuntime: string;
  readonly cniBin: string;
  readonly cniConf: string;
  readonly registryConfig: string;
  /** Credentials by registry host. */
  readonly registryAuths: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** 0 lets the kernel choose. */
  readonly streamPort: number;
  /** Whether containers must not get a lower oom_score_adj than containerd itself has. */
  readonly restrictOomScoreAdj: boolean;
}

type Value = string | number | boolean | readonly string[];
type Section = readonly [path: readonly string[], values: Readonly<Record<string, Value>>];

export function renderConfig(settings: ContainerdSettings): string {
  const sections = [...common(settings), ...(settings.major >= 2 ? version3(settings) : version2(settings))];
  const text = sections.map(([path, values]) => {
    const head = path.length ? [`[${path.map(key).join(".")}]`] : [];
    return [...head, ...Object.entries(values).map(([name, value]) => `${name} = ${JSON.stringify(value)}`), ""];
  });
  return ["# Written by k3s-p at every start; changes made here are lost.", ...text.flat()].join("\n");
}

const key = (part: string) => (/^[A-Za-z0-9_-]+$/.test(part) ? part : JSON.stringify(part));

/** Snapshotters that would only log that they cannot work here, and the opt plugin that wants /opt/containerd. */
const unused = ["aufs", "btrfs", "devmapper", "zfs"].map((name) => `io.containerd.snapshotter.v1.${name}`);

function common(settings: ContainerdSettings): Section[] {
  const { major, root, state, socket } = settings;
  const disabled = [...unused, "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"];
  return [
    [[], { version: major >= 2 ? 3 : 2, root, state, disabled_plugins: disabled }],
    [["grpc"], { address: socket }],
  ];
}

function version2(settings: ContainerdSettings): Section[] {
  const cri = ["plugins", "io.containerd.grpc.v1.cri"];
  return [
    [cri, { ...limits(settings), ...stream(settings), sandbox_image: settings.sandboxImage }],
    [[...cri, "cni"], { bin_dir: settings.cniBin, conf_dir: settings.cniConf }],
    [[...cri, "containerd"], { snapshotter: settings.snapshotter, default_runtime_name: settings.defaultRuntime }],
    ...runtimes([...cri, "containerd"], settings),
    ...registry(cri, settings),
  ];
}

function version3(settings: ContainerdSettings): Section[] {
  const runtime = ["plugins", "io.containerd.cri.v1.runtime"];
  const images = ["plugins", "io.containerd.cri.v1.images"];
  return [
    [runtime, limits(settings)],
    [[...runtime, "cni"], { bin_dir: settings.cniBin, conf_dir: settings.cniConf }],
    [[...runtime, "containerd"], { default_runtime_name: settings.defaultRuntime }],
    ...runtimes([...runtime, "containerd"], settings),
    [images, { snapshotter: settings.snapshotter }],
    [[...images, "pinned_images"], { sandbox: settings.sandboxImage }],
    ...registry(images, settings),
    [["plugins", "io.containerd.grpc.v1.cri"], stream(settings)],
  ];
}

const limits = ({ restrictOomScoreAdj }: ContainerdSettings) => ({
  enable_selinux: false,
  enable_unprivileged_icmp: true,
  enable_unprivileged_ports: true,
  restrict_oom_score_adj: restrictOomScoreAdj,
});

const stream = ({ streamPort }: ContainerdSettings) => ({
  stream_server_address: "127.0.0.1",
  stream_server_port: String(streamPort),
});

function registry(parent: readonly string[], { registryConfig, registryAuths }: ContainerdSettings): Section[] {
  return [
    [[...parent, "registry"], { config_path: registryConfig }],
    ...Object.entries(registryAuths).map(([host, auth]): Section => [[...parent, "registry", "configs", host, "auth"], auth]),
  ];
}

/** The cgroup driver is cgroupfs everywhere, as the kubelet's. */
function runtimes(parent: readonly string[], settings: ContainerdSettings): Section[] {
  return Object.entries(settings.runtimes).flatMap(([name, program]): Section[] => [
    [[...parent, "runtimes", name], { runtime_type: "io.containerd.runc.v2" }],
    [[...parent, "runtimes", name, "options"], { BinaryName: program, SystemdCgroup: false }],
  ]);
}
