/** From an empty folder to a working cluster: pods, services, DNS, ingress, volumes, metrics. */
import { describe, expect, test } from "vitest";
import { eventually, httpGet } from "../kit/cluster.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";
import { useCluster } from "./use-cluster.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: first light ${reason}`);

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 3
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: httpd
        image: docker.io/library/busybox:e2e
        command: [sh, -c, "mkdir -p /tmp/www; hostname > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www"]
        ports: [{ containerPort: 8080, name: http }]
        readinessProbe: { httpGet: { path: /, port: http }, periodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { type: NodePort, selector: { app: web }, ports: [{ port: 80, targetPort: http, nodePort: 30080 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: client }
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - { name: sh, image: "docker.io/library/busybox:e2e", command: [sleep, "100000"] }
`;

describe.skipIf(reason)("a cluster from nothing", () => {
  const cluster = useCluster();

  const fromNode = (command: readonly string[]) => cluster.sandbox.run(command);
  const fromOutside = (command: readonly string[]) => cluster.sandbox.runPeer(command);
  const fromPod = (name: string) => (command: readonly string[]) => cluster.tryKubectl(["exec", name, "--", ...command]);
  const webPod = { status: 200, body: expect.stringMatching(/^web-[a-z0-9]+-[a-z0-9]+\n$/) as string };
  /** The first answer with a status; services need a moment until their rules are in the kernel. */
  const answer = (get: () => ReturnType<typeof httpGet>, what: string) =>
    eventually(async () => { const r = await get(); return r.status > 0 && r.status < 500 && r; }, what, 20_000);

  test("the node becomes Ready", async () => {
    await cluster.kubectl("wait", "--for=condition=Ready", "node/node1", "--timeout=30s");
    expect(await cluster.kubectl("get", "nodes", "--no-headers")).toMatch(/^node1\s+Ready\s+control-plane\s+\S+\s+v1\.36\.\d+\+k3sp\d+\n$/);
  });

  test("the start says nothing that sounds like trouble, and reports the node as upstream does", async () => {
    const warnings = cluster.output().split("\n").filter((line) => line && !line.startsWith('{"level":30,'));
    expect(warnings).toEqual([]);
    const reasons = await eventually(async () => {
      const text = await cluster.kubectl("get", "events", "-o", "jsonpath={range .items[*]}{.reason}{'\\n'}{end}");
      return text.includes("NodeReady") && text.includes("RegisteredNode") && text;
    }, "the events of a new node", 10_000);
    expect(reasons.trim().split("\n").sort()).toEqual([
      "NodeAllocatableEnforced", "NodeHasNoDiskPressure", "NodeHasSufficientMemory", "NodeHasSufficientPID", "NodeReady", "RegisteredNode", "Starting",
    ]);
  });

  test("a Deployment of three pods runs", async () => {
    await cluster.apply(web);
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s");
    await cluster.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s");
    const pods = await cluster.kubectl("get", "pods", "-l", "app=web", "--no-headers");
    expect(pods.trim().split("\n").map((line) => line.split(/\s+/).slice(1, 3).join(" "))).toEqual(["1/1 Running", "1/1 Running", "1/1 Running"]);
  });

  test("the ClusterIP and the NodePort answer from the node", async () => {
    const ip = await cluster.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}");
    expect(ip).toMatch(/^10\.43\./);
    expect(await answer(() => httpGet(fromNode, ip, 80), "the ClusterIP")).toEqual(webPod);
    expect(await httpGet(fromNode, cluster.sandbox.ip, 30080)).toEqual(webPod);
  });

  test("the NodePort answers from outside the node", async () => {
    expect(await httpGet(fromOutside, cluster.sandbox.ip, 30080)).toEqual(webPod);
  });

  test("another pod reaches the service by its DNS names, and every replica answers", async () => {
    for (const name of ["web", "web.default", "web.default.svc.cluster.local"]) {
      expect(await httpGet(fromPod("client"), name, 80)).toEqual(webPod);
    }
    const get = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 web 80 | tail -n 1";
    const { stdout } = await fromPod("client")(["sh", "-c", `for i in $(seq 60); do ${get}; done | sort -u | wc -l`]);
    expect(stdout.trim()).toBe("3");
  });

  test("a pod reaches itself through its own service, and the API server by its name", async () => {
    await cluster.kubectl("scale", "deployment/web", "--replicas=1");
    const left = await eventually(async () => {
      const names = (await cluster.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}")).split(" ");
      return names.length === 1 && names[0];
    }, "one pod is left");
    expect(await answer(() => httpGet(fromPod(left), "web", 80), "the own service")).toEqual(webPod);
    expect((await fromPod("client")(["sh", "-c", "nc -w 2 kubernetes.default 443 < /dev/null"])).code).toBe(0);
    await cluster.kubectl("scale", "deployment/web", "--replicas=3");
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s");
  });

  test("a NetworkPolicy keeps out whom it does not name, and the node's probes go on", async () => {
    const rule = "{ from: [{ podSelector: { matchLabels: { access: granted } } }], ports: [{ port: http }] }";
    await cluster.apply(`apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: web }\nspec: { podSelector: { matchLabels: { app: web } }, ingress: [${rule}] }\n`);
    const status = async (from: Parameters<typeof httpGet>[0], host: string, port: number) => (await httpGet(from, host, port)).status;
    await eventually(async () => (await status(fromPod("client"), "web", 80)) === 0, "the pod is kept out", 10_000);
    expect(await status(fromOutside, cluster.sandbox.ip, 30080)).toBe(0);
    expect(await status(fromNode, await cluster.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"), 80)).toBe(200);
    await cluster.kubectl("label", "pod", "client", "access=granted");
    await eventually(async () => (await status(fromPod("client"), "web", 80)) === 200, "the pod is let in", 10_000);
    expect(await cluster.kubectl("get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}")).toBe("3");
    await cluster.kubectl("delete", "networkpolicy", "web");
    expect(await answer(() => httpGet(fromOutside, cluster.sandbox.ip, 30080), "the NodePort")).toEqual(webPod);
  });

  test("a LoadBalancer Service answers on the node's address and shows it", async () => {
    await cluster.apply("apiVersion: v1\nkind: Service\nmetadata: { name: web-lb }\nspec: { type: LoadBalancer, selector: { app: web }, ports: [{ port: 8000, targetPort: http }] }\n");
    const shown = () => cluster.kubectl("get", "service", "web-lb", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}");
    await eventually(async () => (await shown()) === cluster.sandbox.ip, "the address in the status", 20_000);
    expect(await answer(() => httpGet(fromOutside, cluster.sandbox.ip, 8000), "the load balancer")).toEqual(webPod);
    expect(await httpGet(fromNode, cluster.sandbox.ip, 8000)).toEqual(webPod);
  });

  test("an Ingress routes port 80 by host and path", async () => {
    await cluster.apply(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: web }
spec:
  rules:
  - host: web.example
    http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] }
`);
    const get = (host: string) => httpGet(fromOutside, cluster.sandbox.ip, 80, "/", host);
    await eventually(async () => (await get("web.example")).status === 200, "the ingress", 30_000);
    expect(await get("web.example")).toEqual(webPod);
    expect(await get("other.example")).toEqual({ status: 404, body: "404 page not found\n" });
    await eventually(async () => (await cluster.kubectl("get", "ingress", "web", "--no-headers")).includes(cluster.sandbox.ip), "the ingress's address", 20_000);
  });

  test("a claim keeps its data across a deleted pod", async () => {
    const pod = (name: string, command: string) => `
apiVersion: v1
kind: Pod
metadata: { name: ${name} }
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers: [{ name: c, image: "docker.io/library/busybox:e2e", command: [sh, -c, "${command}"], volumeMounts: [{ name: data, mountPath: /data }] }]
  volumes: [{ name: data, persistentVolumeClaim: { claimName: data } }]
`;
    await cluster.apply("apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: { name: data }\nspec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 64Mi } } }\n");
    expect(await cluster.kubectl("get", "pvc", "data", "--no-headers")).toMatch(/^data\s+Pending/);
    await cluster.apply(pod("writer", "echo kept > /data/file"));
    await cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/writer", "--timeout=60s");
    expect(await cluster.kubectl("get", "pvc", "data", "--no-headers")).toMatch(/^data\s+Bound\s+pvc-\S+\s+64Mi\s+RWO\s+local-path/);
    await cluster.kubectl("delete", "pod", "writer");
    await cluster.apply(pod("reader", "cat /data/file"));
    await cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/reader", "--timeout=60s");
    expect(await cluster.kubectl("logs", "reader")).toBe("kept\n");
    await cluster.kubectl("delete", "pod/reader", "pvc/data");
    await eventually(async () => (await cluster.kubectl("get", "pv", "-o", "name")) === "", "the volume is removed", 30_000);
    expect((await cluster.sandbox.run(["sh", "-c", "ls /var/lib/rancher/k3s/storage"])).stdout).toBe("");
  });

  test("kubectl top shows figures", async () => {
    const node = await eventually(async () => { const r = await cluster.tryKubectl(["top", "node", "--no-headers"]); return r.code === 0 && r.stdout; }, "kubectl top node", 40_000);
    expect(node).toMatch(/^node1\s+\d+m\s+\d+%\s+\d+Mi\s+\d+%\s*\n$/);
    const pods = await eventually(async () => { const r = await cluster.tryKubectl(["top", "pod", "--no-headers"]); return r.code === 0 && r.stdout.includes("client") && r.stdout; }, "kubectl top pod", 40_000);
    expect(pods).toMatch(/^client\s+\d+m\s+\d+Mi\s*$/m);
  });

  test("a manifest in server/manifests is applied, and a change to it too", async () => {
    const write = (value: string) => cluster.sandbox.run(["sh", "-c", `cat > /var/lib/rancher/k3s/server/manifests/mine.yaml`], { stdin: `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: mine }\ndata: { a: "${value}" }\n` });
    const read = async () => (await cluster.tryKubectl(["get", "cm", "mine", "-o", "jsonpath={.data.a}"])).stdout;
    await write("1");
    await eventually(async () => (await read()) === "1", "the manifest's object", 20_000);
    await write("2");
    await eventually(async () => (await read()) === "2", "the change", 20_000);
    expect(await cluster.kubectl("get", "addons", "-n", "kube-system", "-o", "name")).toContain("addon.k3s.cattle.io/mine");
  });

  test("files have K3s's places and modes", async () => {
    const { stdout } = await cluster.sandbox.run(["sh", "-c", `cd /var/lib/rancher/k3s && stat -c '%a %n' server server/db/state.db server/token server/tls/server-ca.key /etc/rancher/k3s/k3s.yaml && ls /run/flannel/subnet.env /run/k3s/containerd/containerd.sock agent/etc/containerd/config.toml`]);
    expect(stdout.trim().split("\n")).toEqual([
      "700 server", "600 server/db/state.db", "600 server/token", "600 server/tls/server-ca.key", "600 /etc/rancher/k3s/k3s.yaml",
      "/run/flannel/subnet.env", "/run/k3s/containerd/containerd.sock", "agent/etc/containerd/config.toml",
    ]);
  });

  test("a container's root is where K3s has it", async () => {
    const id = (await cluster.kubectl("get", "pod", "client", "-o", "jsonpath={.status.containerStatuses[0].containerID}")).replace("containerd://", "");
    const { stdout } = await cluster.sandbox.run(["ls", `/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/${id}/rootfs/bin/busybox`]);
    expect(stdout).toContain("rootfs/bin/busybox");
  });
});
