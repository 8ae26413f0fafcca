/** helm installs, upgrades, rolls back and uninstalls a chart with a CRD, hooks and pods that have to become ready. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCluster, type Cluster } from "../kit/cluster.ts";
import { busyboxImage } from "../kit/images.ts";
import { sandboxUnavailable, type Result } from "../kit/sandbox.ts";
import { tool } from "../kit/tools.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: helm ${reason}`);

const image = "docker.io/library/busybox:e2e";
const hook = (name: string, when: string, command: string) => `
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-${name}
  annotations: { helm.sh/hook: ${when}, helm.sh/hook-delete-policy: before-hook-creation }
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers: [{ name: main, image: ${image}, command: [sh, -c, "${command}"] }]
`;

const chart: Readonly<Record<string, string>> = {
  "Chart.yaml": "apiVersion: v2\nname: web\nversion: 0.1.0\nappVersion: '1'\n",
  "values.yaml": "replicas: 1\ntext: one\nhealthy: true\n",
  "crds/widgets.yaml": `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: widgets.helm.example.com }
spec:
  group: helm.example.com
  scope: Namespaced
  names: { plural: widgets, singular: widget, kind: Widget }
  versions: [{ name: v1, served: true, storage: true, schema: { openAPIV3Schema: { type: object, properties: { spec: { type: object, properties: { size: { type: integer } } } } } } }]
`,
  "templates/widget.yaml": "apiVersion: helm.example.com/v1\nkind: Widget\nmetadata: { name: {{ .Release.Name }} }\nspec: { size: {{ .Values.replicas }} }\n",
  "templates/config.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: {{ .Release.Name }} }\ndata: { text: {{ .Values.text | quote }} }\n",
  "templates/service.yaml": "apiVersion: v1\nkind: Service\nmetadata: { name: {{ .Release.Name }} }\nspec: { selector: { app: {{ .Release.Name }} }, ports: [{ port: 80, targetPort: 8080 }] }\n",
  "templates/deployment.yaml": `
apiVersion: apps/v1
kind: Deployment
metadata: { name: {{ .Release.Name }} }
spec:
  replicas: {{ .Values.replicas }}
  selector: { matchLabels: { app: {{ .Release.Name }} } }
  template:
    metadata:
      labels: { app: {{ .Release.Name }} }
      annotations: { text: {{ .Values.text | quote }} }
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: ${image}
        command: [sleep, "100000"]
        readinessProbe: { exec: { command: [{{ .Values.healthy | quote }}] }, periodSeconds: 1 }
`,
  "templates/before.yaml": hook("before", "pre-install", "echo before"),
  "templates/after.yaml": hook("after", "\"post-install,post-upgrade\"", "echo after"),
  "templates/tests/works.yaml": `
apiVersion: v1
kind: Pod
metadata: { name: {{ .Release.Name }}-works, annotations: { helm.sh/hook: test } }
spec:
  restartPolicy: Never
  containers: [{ name: main, image: ${image}, command: [sh, -c, "echo the chart works"] }]
`,
};

describe.skipIf(reason)("helm", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await createCluster({ images: [busyboxImage({ name: "docker.io/library/busybox", tag: "e2e" })], args: ["--disable", "traefik,metrics-server"] });
    for (const [name, text] of Object.entries(chart)) {
      const file = join(cluster.sandbox.dir, "web", name);
      mkdirSync(join(file, ".."), { recursive: true });
      writeFileSync(file, text);
    }
    await cluster.start();
  });
  afterAll(() => cluster?.dispose());

  const run = (...args: readonly string[]): Promise<Result> =>
    cluster.sandbox.run([tool("helm"), "--kubeconfig", "/etc/rancher/k3s/k3s.yaml", ...args], { env: { HOME: cluster.sandbox.dir, HELM_CACHE_HOME: join(cluster.sandbox.dir, "cache") } });
  const folder = () => join(cluster.sandbox.dir, "web");
  async function helm(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await run(...args);
    if (code !== 0) throw new Error(`helm ${args.join(" ")} ended with ${code}\n${stdout}${stderr}`);
    return stdout;
  }
  const text = () => cluster.kubectl("get", "configmap", "shop", "-o", "jsonpath={.data.text}");

  test("install --wait: the CRD first, hooks in their order, and back when the pods are ready", async () => {
    const out = await helm("install", "shop", folder(), "--wait", "--timeout", "60s");
    expect(out).toMatch(/STATUS: deployed\nREVISION: 1/);
    expect(await cluster.kubectl("get", "deployment", "shop", "-o", "jsonpath={.status.readyReplicas}")).toBe("1");
    expect(await cluster.kubectl("get", "widget", "shop", "-o", "jsonpath={.spec.size}")).toBe("1");
    const done = async (job: string) => Date.parse(await cluster.kubectl("get", "job", job, "-o", "jsonpath={.status.completionTime}"));
    expect(await done("shop-before")).toBeLessThanOrEqual(await done("shop-after"));
    expect(await helm("list")).toMatch(/^shop\s+default\s+1\s.*\sdeployed\s+web-0\.1\.0\s+1/m);
    expect(await cluster.kubectl("get", "secret", "-l", "owner=helm", "-o", "jsonpath={.items[*].metadata.name} {.items[*].type}")).toBe("sh.helm.release.v1.shop.v1 helm.sh/release.v1");
  });

  test("test runs the chart's own pod", async () => {
    expect(await helm("test", "shop", "--logs", "--timeout", "60s")).toMatch(/TEST SUITE:\s+shop-works[^]*Phase:\s+Succeeded[^]*the chart works/);
  });

  test("upgrade changes what the values changed, and keeps what others did to the objects", async () => {
    await cluster.kubectl("label", "configmap", "shop", "by=hand");
    expect(await helm("upgrade", "shop", folder(), "--set", "replicas=2,text=two", "--wait", "--timeout", "60s")).toContain("REVISION: 2");
    expect([await text(), await cluster.kubectl("get", "widget", "shop", "-o", "jsonpath={.spec.size}")]).toEqual(["two", "2"]);
    expect(await cluster.kubectl("get", "deployment", "shop", "-o", "jsonpath={.status.readyReplicas}")).toBe("2");
    expect(await cluster.kubectl("get", "configmap", "shop", "-o", "jsonpath={.metadata.labels.by}")).toBe("hand");
    expect(await helm("get", "values", "shop")).toContain("text: two");
  });

  test("upgrade --rollback-on-failure that never becomes ready fails and goes back", async () => {
    const { code, stderr } = await run("upgrade", "shop", folder(), "--set", "text=broken,healthy=false", "--rollback-on-failure", "--timeout", "8s");
    expect([code, stderr]).toEqual([1, expect.stringMatching(/UPGRADE FAILED: release shop failed, and has been rolled back due to rollback-on-failure being set/)]);
    expect(await text()).toBe("two");
    expect(await helm("history", "shop")).toMatch(/3\s.*failed[^]*4\s.*deployed.*Rollback to 2/);
  });

  test("rollback to the first revision", async () => {
    expect(await helm("rollback", "shop", "1", "--wait", "--timeout", "60s")).toContain("Rollback was a success!");
    expect(await text()).toBe("one");
    expect(await helm("status", "shop")).toContain("REVISION: 5");
  });

  test("what the server refuses fails the release in its words, and changes nothing", async () => {
    const { code, stderr } = await run("install", "shop", folder());
    expect([code, stderr]).toEqual([1, expect.stringContaining("cannot reuse a name that is still in use")]);
    const refused = await run("upgrade", "shop", folder(), "--set", "replicas=-1");
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('Deployment.apps "shop" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0')]);
    expect(await cluster.kubectl("get", "deployment", "shop", "-o", "jsonpath={.spec.replicas}")).toBe("1");
  });

  test("uninstall takes all but the CRD", async () => {
    expect(await helm("uninstall", "shop", "--wait", "--timeout", "60s")).toBe('release "shop" uninstalled\n');
    expect((await cluster.tryKubectl(["get", "deployment,configmap,service,widget", "shop"])).stderr.match(/NotFound/g)).toHaveLength(4);
    expect(await cluster.kubectl("get", "secret", "-l", "owner=helm", "-o", "name")).toBe("");
    expect(await cluster.kubectl("get", "crd", "widgets.helm.example.com", "-o", "name")).toContain("widgets.helm.example.com");
  });
});
