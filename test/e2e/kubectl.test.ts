/** kubectl's everyday commands print and do what they do against upstream. */
import { spawn } from "node:child_process";
import { describe, expect, test } from "vitest";
import { eventually, httpGet } from "../kit/cluster.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";
import { tool } from "../kit/tools.ts";
import { useCluster } from "./use-cluster.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: kubectl ${reason}`);

const manifest = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: app, labels: { app: app } }
spec:
  replicas: 2
  selector: { matchLabels: { app: app } }
  template:
    metadata: { labels: { app: app } }
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: docker.io/library/busybox:e2e
        command: [sh, -c, "i=0; while true; do echo line $i; i=$((i+1)); sleep 0.2; done"]
`;

describe.skipIf(reason)("kubectl", () => {
  const cluster = useCluster({ manifest, until: ["rollout", "status", "deployment/app"] });

  const firstPod = async () => (await cluster.kubectl("get", "pods", "-l", "app=app", "--field-selector=status.phase=Running", "-o", "jsonpath={.items[0].metadata.name}")).trim();
  /** kubectl under a terminal of a given size, as `script` makes one. */
  const inTerminal = (command: string, stdin = "") =>
    cluster.sandbox.run(["script", "-qec", `stty rows 31 cols 97; ${tool("kubectl")} --kubeconfig /etc/rancher/k3s/k3s.yaml ${command}`, "/dev/null"], { stdin });

  test("get pods -o wide", async () => {
    const [head, ...rows] = (await cluster.kubectl("get", "pods", "-o", "wide")).trim().split("\n");
    expect(head!.split(/\s{2,}/)).toEqual(["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED NODE", "READINESS GATES"]);
    for (const row of rows) expect(row).toMatch(/^app-\S+\s+1\/1\s+Running\s+0\s+\d+s\s+10\.42\.0\.\d+\s+node1\s+<none>\s+<none>$/);
  });

  test("describe", async () => {
    const text = await cluster.kubectl("describe", "pod", await firstPod());
    expect(text).toMatch(/Controlled By:\s+ReplicaSet\/app-/);
    expect(text).toMatch(/State:\s+Running/);
    expect(text).toMatch(/QoS Class:\s+BestEffort/);
    expect(text).toMatch(/kube-api-access-\w{5}:\n\s+Type:\s+Projected/);
    for (const event of [/Normal\s+Scheduled\s+\S+\s+default-scheduler\s+Successfully assigned default\/app-\S+ to node1/, /Normal\s+Pulled\s+\S+\s+kubelet\s+.*already present on machine/, /Normal\s+Created\s/, /Normal\s+Started\s/]) {
      expect(text).toMatch(event);
    }
    expect(await cluster.kubectl("describe", "deployment", "app")).toMatch(/Replicas:\s+2 desired \| 2 updated \| 2 total \| 2 available \| 0 unavailable/);
    expect(await cluster.kubectl("describe", "node", "node1")).toMatch(/Non-terminated Pods:\s+\(2 in total\)/);
  });

  test("logs, and logs -f that ends when the pod does", async () => {
    const pod = await firstPod();
    expect(await cluster.kubectl("logs", pod, "--tail=2")).toMatch(/^line \d+\nline \d+\n$/);
    await cluster.kubectl("run", "talker", "--image=docker.io/library/busybox:e2e", "--restart=Never", "--command", "--", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.5; done");
    await cluster.kubectl("wait", "--for=condition=Ready", "pod/talker", "--timeout=30s");
    expect(await cluster.kubectl("logs", "-f", "talker")).toBe("1\n2\n3\n");
    await cluster.kubectl("delete", "pod", "talker");
  });

  test("exec: output, exit code, standard input", async () => {
    const pod = await firstPod();
    const { code, stdout, stderr } = await cluster.tryKubectl(["exec", pod, "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    expect([code, stdout]).toEqual([7, "out\n"]);
    expect(stderr).toBe("err\ncommand terminated with exit code 7\n");
    expect((await cluster.tryKubectl(["exec", "-i", pod, "--", "cat"], { stdin: "through\n" })).stdout).toBe("through\n");
  });

  test("exec -it has a terminal of the caller's size", async () => {
    const { stdout } = await inTerminal(`exec -it ${await firstPod()} -- sh -c 'sleep 1; stty size'`);
    expect(stdout).toContain("31 97");
  });

  test("exec -it follows a resize", async () => {
    const pod = await firstPod();
    const script = `stty rows 31 cols 97; T=$(tty); (sleep 2; stty rows 40 cols 120 < $T) & ${tool("kubectl")} --kubeconfig /etc/rancher/k3s/k3s.yaml exec -it ${pod} -- sh -c 'for i in 1 2 3 4; do stty size; sleep 1; done'`;
    const { stdout } = await cluster.sandbox.run(["script", "-qec", script, "/dev/null"]);
    expect(stdout).toContain("31 97");
    expect(stdout).toContain("40 120");
  });

  test("port-forward", async () => {
    await cluster.kubectl("run", "httpd", "--image=docker.io/library/busybox:e2e", "--restart=Never", "--command", "--", "sh", "-c", "mkdir -p /tmp/w; echo hello > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w");
    await cluster.kubectl("wait", "--for=condition=Ready", "pod/httpd", "--timeout=30s");
    const [command = "", ...args] = [...cluster.sandbox.enter, tool("kubectl"), "--kubeconfig", "/etc/rancher/k3s/k3s.yaml", "port-forward", "pod/httpd", "18080:8080"];
    const forward = spawn(command, args);
    const answer = await eventually(async () => { const r = await httpGet((c) => cluster.sandbox.run(c), "127.0.0.1", 18080); return r.status > 0 && r; }, "port-forward", 15_000);
    forward.kill();
    expect(answer).toEqual({ status: 200, body: "hello\n" });
    await cluster.kubectl("delete", "pod", "httpd", "--now");
  });

  test("scale, rollout status, rollout restart, rollout history, rollout undo", async () => {
    expect(await cluster.kubectl("scale", "deployment/app", "--replicas=3")).toBe("deployment.apps/app scaled\n");
    expect(await cluster.kubectl("rollout", "status", "deployment/app", "--timeout=60s")).toContain('deployment "app" successfully rolled out\n');
    expect(await cluster.kubectl("rollout", "restart", "deployment/app")).toBe("deployment.apps/app restarted\n");
    expect(await cluster.kubectl("rollout", "status", "deployment/app", "--timeout=60s")).toContain('deployment "app" successfully rolled out\n');
    expect(await cluster.kubectl("rollout", "history", "deployment/app")).toMatch(/REVISION\s+CHANGE-CAUSE\n1\s+<none>\n2\s+<none>/);
    expect(await cluster.kubectl("rollout", "undo", "deployment/app")).toBe("deployment.apps/app rolled back\n");
    await cluster.kubectl("rollout", "status", "deployment/app", "--timeout=60s");
    expect((await cluster.kubectl("get", "rs", "-l", "app=app", "--no-headers")).trim().split("\n")).toHaveLength(2);
  });

  test("get -w shows changes as they happen", async () => {
    const watch = cluster.tryKubectl(["get", "deployment", "app", "-w", "--request-timeout=6s"]);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await cluster.kubectl("scale", "deployment/app", "--replicas=1");
    const { stdout } = await watch;
    const rows = stdout.trim().split("\n").slice(1).map((row) => row.split(/\s+/)[1]);
    expect(rows[0]).toBe("3/3");
    expect(rows.at(-1)).toBe("1/1");
  });

  test("edit, label, annotate, patch", async () => {
    expect((await cluster.tryKubectl(["edit", "deployment", "app"], { env: { EDITOR: "true" } })).stderr).toBe("Edit cancelled, no changes made.\n");
    expect((await cluster.tryKubectl(["edit", "deployment", "app"], { env: { EDITOR: "sed -i s/replicas:.1/replicas:\\ 2/" } })).stdout).toBe("deployment.apps/app edited\n");
    expect(await cluster.kubectl("label", "deployment", "app", "tier=web")).toBe("deployment.apps/app labeled\n");
    expect((await cluster.tryKubectl(["label", "deployment", "app", "tier=db"])).stderr).toContain("'tier' already has a value (web), and --overwrite is false");
    expect(await cluster.kubectl("annotate", "deployment", "app", "note=hi")).toBe("deployment.apps/app annotated\n");
    expect(await cluster.kubectl("patch", "deployment", "app", "-p", '{"spec":{"template":{"spec":{"containers":[{"name":"main","env":[{"name":"A","value":"1"}]}]}}}}')).toBe("deployment.apps/app patched\n");
    expect(await cluster.kubectl("get", "deployment", "app", "-o", "jsonpath={.spec.template.spec.containers[0].image} {.spec.template.spec.containers[0].env[0].value} {.metadata.labels.tier} {.metadata.annotations.note} {.spec.replicas}")).toBe("docker.io/library/busybox:e2e 1 web hi 2");
  });

  test("apply again, explain, api-resources, auth can-i", async () => {
    const changed = manifest.replace("replicas: 2", "replicas: 1");
    expect(await cluster.apply(changed)).toBe("deployment.apps/app configured\n");
    expect(await cluster.apply(changed)).toBe("deployment.apps/app unchanged\n");
    expect(await cluster.kubectl("explain", "pod.spec.containers.livenessProbe.httpGet")).toMatch(/FIELD: httpGet <HTTPGetAction>[\s\S]*port\s+<IntOrString> -required-/);
    expect(await cluster.kubectl("api-resources", "--api-group=apps", "-o", "name")).toBe("controllerrevisions.apps\ndaemonsets.apps\ndeployments.apps\nreplicasets.apps\nstatefulsets.apps\n");
    expect((await cluster.kubectl("auth", "can-i", "create", "pods")).trim()).toBe("yes");
    expect((await cluster.tryKubectl(["auth", "can-i", "list", "secrets", "--as=system:serviceaccount:default:default"])).stdout.trim()).toBe("no");
  });

  test("wrong input gets upstream's words", async () => {
    const cases: readonly (readonly [readonly string[], string])[] = [
      [["get", "pod", "nope"], 'Error from server (NotFound): pods "nope" not found\n'],
      [["create", "namespace", "default"], 'Error from server (AlreadyExists): namespaces "default" already exists\n'],
      [["create", "configmap", "x", "-n", "nope"], 'error: failed to create configmap: namespaces "nope" not found\n'],
      [["run", "Bad_Name", "--image=x"], "The Pod \"Bad_Name\" is invalid: \n"],
    ];
    for (const [args, message] of cases) {
      const { code, stderr } = await cluster.tryKubectl(args);
      expect(code).toBe(1);
      expect(stderr.startsWith(message.trimEnd())).toBe(true);
    }
  });

  test("delete, and the pods are gone", async () => {
    expect(await cluster.kubectl("delete", "deployment", "app")).toBe('deployment.apps "app" deleted from default namespace\n');
    await eventually(async () => (await cluster.tryKubectl(["get", "pods"])).stderr === "No resources found in default namespace.\n", "no pods left", 30_000);
  });

  test("a namespace is emptied and deleted", async () => {
    await cluster.kubectl("create", "namespace", "short");
    await cluster.apply(manifest.replace("name: app, labels", "name: app, namespace: short, labels"));
    await cluster.kubectl("wait", "--for=condition=Available", "deployment/app", "-n", "short", "--timeout=30s");
    expect(await cluster.kubectl("delete", "namespace", "short", "--timeout=60s")).toBe('namespace "short" deleted\n');
  });
});
