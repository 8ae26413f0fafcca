/** What pods may ask for that takes the whole cluster: other sizes, volumes of their own, sidecars, and Jobs that forgive a drain. */
import { describe, expect, test } from "vitest";
import { eventually } from "../kit/cluster.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";
import { image, useCluster } from "./use-cluster.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: features of pods ${reason}`);

const container = (name: string, command: readonly string[], more: object = {}) => ({ name, image, command, ...more });

describe.skipIf(reason)("pods", () => {
  const cluster = useCluster({ args: ["--disable", "traefik,metrics-server"] });

  const put = (kind: string, name: string, spec: object) =>
    cluster.apply(JSON.stringify({ apiVersion: kind === "Job" ? "batch/v1" : "v1", kind, metadata: { name }, spec }));
  const field = (object: string, path: string) => cluster.kubectl("get", object, "-o", `jsonpath={${path}}`);
  const ready = (name: string) => cluster.kubectl("wait", "--for=condition=Ready", `pod/${name}`, "--timeout=30s");

  test("are resized in place, one container by a restart, and keep their size when the node has no room", async () => {
    const resources = { requests: { cpu: "50m", memory: "32Mi" }, limits: { cpu: "100m", memory: "64Mi" } };
    const restarts = { resizePolicy: [{ resourceName: "cpu", restartPolicy: "RestartContainer" }] };
    await put("Pod", "sized", {
      terminationGracePeriodSeconds: 0,
      containers: [container("a", ["sleep", "1000"], { resources }), container("b", ["sleep", "1000"], { resources, ...restarts })],
    });
    await ready("sized");
    const resize = (cpu: string) => cluster.kubectl("patch", "pod", "sized", "--subresource", "resize", "-p",
      JSON.stringify({ spec: { containers: ["a", "b"].map((name) => ({ name, resources: { requests: { cpu }, limits: { cpu } } })) } }));
    await resize("200m");
    await eventually(async () => (await field("pod/sized", ".status.containerStatuses[*].resources.limits.cpu")) === "200m 200m", "the new size", 20_000);
    expect(await field("pod/sized", ".status.containerStatuses[*].restartCount")).toBe("0 1");
    const quota = "cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us";
    for (const name of ["a", "b"]) expect(await cluster.kubectl("exec", "sized", "-c", name, "--", "sh", "-c", quota)).toMatch(/^20000\b/);
    await resize("4000");
    const pending = '.status.conditions[?(@.type=="PodResizePending")].reason';
    await eventually(async () => (await field("pod/sized", pending)) === "Infeasible", "the refusal", 20_000);
    expect(await field("pod/sized", ".status.containerStatuses[*].allocatedResources.cpu")).toBe("200m 200m");
    await cluster.kubectl("delete", "pod", "sized", "--now");
  });

  test("get a claim for an ephemeral volume, and variables from a file; the claim goes with the pod", async () => {
    const volumes = [
      { name: "scratch", ephemeral: { volumeClaimTemplate: { spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Mi" } } } } } },
      { name: "made", emptyDir: {} },
    ];
    const env = [{ name: "GREETING", valueFrom: { fileKeyRef: { volumeName: "made", path: "env", key: "GREETING" } } }];
    await put("Pod", "volumes", {
      terminationGracePeriodSeconds: 0, volumes,
      initContainers: [container("setup", ["sh", "-c", "echo \"GREETING='hello there'\" > /made/env"], { volumeMounts: [{ name: "made", mountPath: "/made" }] })],
      containers: [container("main", ["sh", "-c", "echo $GREETING > /scratch/x; exec sleep 1000"], { env, volumeMounts: [{ name: "scratch", mountPath: "/scratch" }] })],
    });
    await ready("volumes");
    expect(await cluster.kubectl("exec", "volumes", "-c", "main", "--", "cat", "/scratch/x")).toBe("hello there\n");
    expect(await field("pvc/volumes-scratch", ".status.phase")).toBe("Bound");
    await cluster.kubectl("delete", "pod", "volumes", "--now");
    await eventually(async () => (await cluster.kubectl("get", "pvc", "-o", "name")) === "", "the claim to go", 20_000);
  });

  test("see the files of an image as a volume, which no one can write to", async () => {
    await put("Pod", "shown", {
      terminationGracePeriodSeconds: 0, volumes: [{ name: "tools", image: { reference: image, pullPolicy: "Never" } }],
      containers: [container("main", ["sleep", "1000"], { volumeMounts: [{ name: "tools", mountPath: "/tools" }, { name: "tools", mountPath: "/bin-only", subPath: "bin" }] })],
    });
    await ready("shown");
    const inside = (script: string) => cluster.kubectl("exec", "shown", "--", "sh", "-c", script);
    expect(await inside("ls /tools/bin/busybox /bin-only/busybox; touch /tools/x 2>&1 || true")).toMatch(/^\/bin-only\/busybox\n\/tools\/bin\/busybox\ntouch: .*Read-only file system/);
    await cluster.kubectl("delete", "pod", "shown", "--now");
    await put("Pod", "refused", { volumes: [{ name: "tools", image: { reference: "example.invalid/none:1", pullPolicy: "Never" } }], containers: [container("main", ["sleep", "1000"], { volumeMounts: [{ name: "tools", mountPath: "/tools" }] })] });
    await eventually(async () => (await cluster.kubectl("get", "events", "--field-selector", "involvedObject.name=refused,reason=FailedMount", "-o", "jsonpath={.items[*].message}"))
      .includes('MountVolume.SetUp failed for volume "tools" : ErrImageNeverPull: Container image "example.invalid/none:1" is not present with pull policy of Never'), "the event", 20_000);
    await cluster.kubectl("delete", "pod", "refused", "--now");
  });

  test("of a Job that forgives disruptions outlive a drain", async () => {
    await put("Job", "forgiving", {
      backoffLimit: 0,
      podFailurePolicy: { rules: [{ action: "Ignore", onPodConditions: [{ type: "DisruptionTarget", status: "True" }] }] },
      template: { spec: { restartPolicy: "Never", terminationGracePeriodSeconds: 0, containers: [container("main", ["sleep", "1000"])] } },
    });
    const podOf = () => cluster.kubectl("get", "pods", "-l", "job-name=forgiving", "--field-selector", "status.phase=Running", "-o", "name");
    const first = await eventually(podOf, "the first pod", 20_000);
    await cluster.kubectl("drain", "node1", "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=30s");
    await cluster.kubectl("uncordon", "node1");
    const second = await eventually(async () => { const name = await podOf(); return name !== first && name; }, "another pod", 30_000);
    expect(second).toContain("forgiving-");
    expect(await field("job/forgiving", ".status.conditions")).toBe("");
    await cluster.kubectl("delete", "job", "forgiving");
  });
});
