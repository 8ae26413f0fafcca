import { expect, it } from "vitest";
import { renderConfig, type ContainerdSettings } from "./config-toml.ts";

const settings: ContainerdSettings = {
  major: 1, root: "/data/agent/containerd", state: "/run/k3s/containerd", socket: "/run/k3s/containerd/containerd.sock",
  sandboxImage: "docker.io/k3s-p/pause:1", snapshotter: "overlayfs", runtimes: { runc: "/usr/sbin/runc" }, defaultRuntime: "runc",
  cniBin: "/data/data/cni", cniConf: "/data/agent/etc/cni/net.d", registryConfig: "/data/certs.d", registryAuths: {}, streamPort: 0,
  restrictOomScoreAdj: true,
};

it("writes version 2 for containerd 1.x", () => {
  expect(renderConfig(settings)).toBe(`# Written by k3s-p at every start; changes made here are lost.
version = 2
root = "/data/agent/containerd"
state = "/run/k3s/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs","io.containerd.snapshotter.v1.btrfs","io.containerd.snapshotter.v1.devmapper","io.containerd.snapshotter.v1.zfs","io.containerd.internal.v1.opt","io.containerd.tracing.processor.v1.otlp"]

[grpc]
address = "/run/k3s/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
enable_selinux = false
enable_unprivileged_icmp = true
enable_unprivileged_ports = true
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"
sandbox_image = "docker.io/k3s-p/pause:1"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/data/data/cni"
conf_dir = "/data/agent/etc/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "/usr/sbin/runc"
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "/data/certs.d"
`);
});

it("writes version 3 with its split plugins for containerd 2.x", () => {
  const text = renderConfig({ ...settings, major: 2, streamPort: 10010 });
  const lines = text.split("\n");
  expect(lines[1]).toBe("version = 3");
  for (const [section, line] of [
    ['[plugins."io.containerd.cri.v1.images".pinned_images]', 'sandbox = "docker.io/k3s-p/pause:1"'],
    ['[plugins."io.containerd.cri.v1.images"]', 'snapshotter = "overlayfs"'],
    ['[plugins."io.containerd.cri.v1.runtime".cni]', 'bin_dir = "/data/data/cni"'],
    ['[plugins."io.containerd.cri.v1.runtime".containerd]', 'default_runtime_name = "runc"'],
  ] as const) {
    expect(lines[lines.indexOf(section) + 1]).toBe(line);
  }
  expect(text).toContain('[plugins."io.containerd.grpc.v1.cri"]\nstream_server_address = "127.0.0.1"\nstream_server_port = "10010"\n');
  expect(text).not.toContain("sandbox_image");
});

it.each([[1, "io.containerd.grpc.v1.cri"], [2, "io.containerd.cri.v1.images"]])("gives containerd %s the credentials of registries", (major, plugin) => {
  const text = renderConfig({ ...settings, major, registryAuths: { "reg.io:5000": { username: "me", password: 'p"w' } } });
  expect(text).toContain(`[plugins."${plugin}".registry.configs."reg.io:5000".auth]\nusername = "me"\npassword = "p\\"w"\n`);
});
