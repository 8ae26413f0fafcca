/** HelmChart objects with the real helm: installed, upgraded, repaired and uninstalled, without jobs and without pods. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { issueCertificate, keyPem, newKey } from "../../core/src/pki/x509.ts";
import { createCluster, dataDir, eventually, node26, type Cluster } from "../kit/cluster.ts";
import { tar } from "../kit/images.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";
import { tool } from "../kit/tools.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: HelmChart ${reason}`);

const others = "containerd,controller-manager,coredns,flannel,kube-proxy,kubelet,local-storage,metrics-server,network-policy,scheduler,servicelb,supervisor,traefik";
const PORT = 8443;

const archive = (version: string): Buffer => gzipSync(tar(Object.entries({
  "Chart.yaml": `apiVersion: v2\nname: web\nversion: ${version}\n`,
  "values.yaml": "text: of the chart\nset: none\n",
  "templates/config.yaml": `
apiVersion: v1
kind: ConfigMap
metadata: { name: {{ .Release.Name }}{{ if eq .Values.text "refused" }}_{{ end }} }
data: { text: {{ .Values.text | quote }}, set: {{ .Values.set | quote }}, type: {{ kindOf .Values.set }}, version: {{ .Chart.Version }} }
{{ if eq .Values.text "broken" }}{{ fail "the text must not be broken" }}{{ end }}
`,
  // Nobody runs it: helm waits until it is interrupted.
  "templates/hook.yaml": `
{{ if eq .Values.text "waits" }}
apiVersion: batch/v1
kind: Job
metadata: { name: {{ .Release.Name }}-hook, annotations: { helm.sh/hook: pre-upgrade } }
spec: { template: { spec: { restartPolicy: Never, containers: [{ name: main, image: none }] } } }
{{ end }}
`,
}).map(([name, text]) => ({ path: `web/${name}`, data: Buffer.from(text) }))));

const chart = (name: string, spec: object) => JSON.stringify({ apiVersion: "helm.cattle.io/v1", kind: "HelmChart", metadata: { name, namespace: "kube-system" }, spec });
const web = (more: object = {}) => chart("web", { chartContent: archive("0.1.0").toString("base64"), targetNamespace: "site", createNamespace: true, ...more });

/** Serves the folder by HTTPS to those who know the password. */
const repository = `
const { readFileSync } = require("node:fs");
const [dir, login] = process.argv.slice(1);
require("node:https").createServer({ key: readFileSync(dir + "/key.pem"), cert: readFileSync(dir + "/cert.pem") }, (request, response) => {
  if (request.headers.authorization !== "Basic " + Buffer.from(login).toString("base64")) return response.writeHead(401).end();
  response.end(readFileSync(dir + request.url));
}).listen(${PORT}, "127.0.0.1");`;

describe.skipIf(reason)("HelmChart", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await createCluster({ args: ["--disable", others] });
    manifest("web.json", web());
    manifest("stays.json", chart("stays", { chart: "https://%{KUBERNETES_API}%/static/charts/web.tgz" }));
    file("static/charts/web.tgz", archive("0.3.0"));
    await cluster.start();
  });
  afterAll(() => cluster?.dispose());

  function file(name: string, content: string | Buffer): void {
    const path = join(cluster.sandbox.dir, "private", dataDir, "server", name);
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, content);
  }
  const manifest = (name: string, text: string) => file(`manifests/${name}`, text);
  const helm = async (...args: readonly string[]) =>
    (await cluster.sandbox.run([tool("helm"), "--kubeconfig", "/etc/rancher/k3s/k3s.yaml", "--namespace", "site", ...args], { env: { HOME: cluster.sandbox.dir } })).stdout;
  const data = async (name = "web", namespace = "site") => JSON.parse(await cluster.kubectl("get", "configmap", name, "-n", namespace, "-o", "jsonpath={.data}")) as Record<string, string>;
  const condition = (type: string, field = "status", name = "web") =>
    cluster.kubectl("get", "helmchart", name, "-n", "kube-system", "-o", `jsonpath={.status.conditions[?(@.type=='${type}')].${field}}`);
  const untilData = (wanted: Record<string, string>) => vi.waitFor(async () => expect(await data()).toMatchObject(wanted), { timeout: 30_000, interval: 200 });

  test("a manifest in server/manifests is a release; the kinds come with the server, as K3s has them", async () => {
    await eventually(async () => (await condition("Deployed")) === "True", "the release", 30_000);
    expect(await data()).toEqual({ text: "of the chart", set: "none", type: "string", version: "0.1.0" });
    expect(await helm("list")).toMatch(/^web\s+site\s+1\s.*\sdeployed\s+web-0\.1\.0/m);
    expect(await cluster.kubectl("get", "helmchart", "web", "-n", "kube-system")).toMatch(/^NAME +REPO +CHART +VERSION +TARGETNAMESPACE +BOOTSTRAP +FAILED\nweb +site +False\n$/);
    expect([await condition("JobCreated"), await condition("Failed")]).toEqual(["True", "False"]);
    expect(await cluster.kubectl("get", "jobs,pods", "-A", "-o", "name")).toBe("");
  });

  test("a chart below server/static is taken from there, as K3s's own charts are", async () => {
    await cluster.kubectl("wait", "helmchart/stays", "-n", "kube-system", "--for=condition=Deployed", "--timeout=30s");
    expect((await data("stays", "kube-system")).version).toBe("0.3.0");
  });

  test("a HelmChartConfig goes before the values of the HelmChart, and set before both", async () => {
    await cluster.apply(web({ valuesContent: "text: of the HelmChart\n", set: { set: 7 } }));
    await untilData({ text: "of the HelmChart", set: "7", type: "int64" });
    await cluster.apply(JSON.stringify({ apiVersion: "helm.cattle.io/v1", kind: "HelmChartConfig", metadata: { name: "web", namespace: "kube-system" }, spec: { valuesContent: "text: of the config\nset: 8\n" } }));
    await untilData({ text: "of the config", set: "7" });
    await cluster.kubectl("delete", "helmchartconfig", "web", "-n", "kube-system");
    await untilData({ text: "of the HelmChart" });
  });

  test("a failure is told in helm's words, changes nothing, and is over when the chart is right", async () => {
    await cluster.apply(web({ valuesContent: "text: broken\n" }));
    await cluster.kubectl("wait", "helmchart/web", "-n", "kube-system", "--for=condition=Failed", "--timeout=30s");
    expect(await condition("Failed", "message")).toContain("the text must not be broken");
    expect((await data()).text).toBe("of the HelmChart");
    await eventually(async () => (await cluster.kubectl("get", "events", "-n", "kube-system")).match(/Warning +HelmFailed +helmchart\/web .*the text must not be broken/), "the event", 10_000);
    await cluster.apply(web({ valuesContent: "text: right\n" }));
    await untilData({ text: "right" });
    await cluster.kubectl("wait", "helmchart/web", "-n", "kube-system", "--for=condition=Deployed", "--timeout=30s");
    expect(await condition("Failed")).toBe("False");
  });

  test("a first install that the API server refused is upgraded to one that it does not", async () => {
    const first = (text: string) => cluster.apply(chart("first", { chartContent: archive("0.1.0").toString("base64"), values: { text }, failurePolicy: "abort" }));
    await first("refused");
    await cluster.kubectl("wait", "helmchart/first", "-n", "kube-system", "--for=condition=Failed", "--timeout=30s");
    expect(await condition("Failed", "message", "first")).toContain('ConfigMap "first_" is invalid');
    await first("good");
    await cluster.kubectl("wait", "helmchart/first", "-n", "kube-system", "--for=condition=Deployed", "--timeout=30s");
    expect((await data("first", "kube-system")).text).toBe("good");
  });

  const untilItWaits = () => eventually(async () => /pending-upgrade/.test(await helm("list", "--pending")), "helm at its hook", 30_000);

  test("a change ends the helm that waits for a hook of what was wanted before", async () => {
    await cluster.apply(web({ valuesContent: "text: waits\n" }));
    await untilItWaits();
    await cluster.apply(web({ valuesContent: "text: changed\n" }));
    await untilData({ text: "changed" });
    await cluster.kubectl("wait", "helmchart/web", "-n", "kube-system", "--for=condition=Deployed", "--timeout=30s");
    expect(await condition("Failed")).toBe("False");
  });

  test("an upgrade that the end of the server interrupted is repaired by the next one, which leaves the other releases alone", async () => {
    await cluster.apply(web({ valuesContent: "text: waits\n" }));
    await untilItWaits();
    await cluster.stop("SIGKILL");
    manifest("web.json", web({ valuesContent: "text: repaired\n" }));
    await cluster.start();
    await untilData({ text: "repaired" });
    await cluster.kubectl("wait", "helmchart/web", "-n", "kube-system", "--for=condition=Deployed", "--timeout=30s");
    expect(await helm("history", "web")).toMatch(/pending-upgrade[^]*Rollback to \d+[^]*deployed[^\n]*Upgrade complete\s*$/);
    expect(await helm("history", "stays", "-n", "kube-system", "-o", "json")).toMatch(/^\[\{"revision":1,[^{}]*\}\]\n$/);
  });

  test("a repository behind a password and a CA of its own", async () => {
    const dir = join(cluster.sandbox.dir, "repository");
    mkdirSync(dir);
    const [caKey, key, now] = [newKey(), newKey(), new Date()];
    const issuer = { cert: issueCertificate({ commonName: "repository-ca", usage: "ca", days: 1, now, key: caKey }), key: keyPem(caKey) };
    writeFileSync(join(dir, "key.pem"), keyPem(key));
    writeFileSync(join(dir, "cert.pem"), issueCertificate({ commonName: "repository", usage: "server", sans: ["127.0.0.1"], days: 1, now, key, issuer }));
    for (const version of ["0.4.0", "0.5.0"]) writeFileSync(join(dir, `web-${version}.tgz`), archive(version));
    const versions = ["0.5.0", "0.4.0"].map((version) => ({ name: "web", version, apiVersion: "v2", urls: [`web-${version}.tgz`] }));
    writeFileSync(join(dir, "index.yaml"), JSON.stringify({ apiVersion: "v1", entries: { web: versions } }));
    cluster.sandbox.spawn([node26, "-e", repository, dir, "me:secret word"]);
    const spec = { driver: "configmap", repo: `https://127.0.0.1:${PORT}`, chart: "web", version: "0.4.0", repoCA: issuer.cert, authSecret: { name: "login" } };
    await cluster.apply(chart("remote", spec));
    await cluster.kubectl("wait", "helmchart/remote", "-n", "kube-system", "--for=condition=Failed", "--timeout=30s");
    expect(await condition("Failed", "message", "remote")).toBe("spec.authSecret: Secret login is not in the namespace kube-system");
    await cluster.kubectl("create", "secret", "generic", "login", "-n", "kube-system", "--type=kubernetes.io/basic-auth", "--from-literal=username=me", "--from-literal=password=secret word");
    await cluster.kubectl("wait", "helmchart/remote", "-n", "kube-system", "--for=condition=Deployed", "--timeout=30s");
    expect((await data("remote", "kube-system")).version).toBe("0.4.0");
    expect(await cluster.kubectl("get", "configmaps", "-n", "kube-system", "-l", "owner=helm", "-o", "name")).toBe("configmap/sh.helm.release.v1.remote.v1\n");
    expect(cluster.output()).not.toContain("secret word");
  });

  test("--disable-helm-controller leaves HelmCharts and their releases as they are, and so does the start after it", async () => {
    const releases = () => cluster.kubectl("get", "secrets,configmaps", "-A", "-l", "owner=helm", "-o", "name");
    const before = await releases();
    await cluster.stop();
    await cluster.start({ args: ["--disable-helm-controller", "--disable", "helm-controller"] });
    expect(cluster.output()).toContain("helm-controller: not loaded (--disable-helm-controller)");
    expect(await cluster.kubectl("get", "helmcharts", "-A", "-o", "jsonpath={.items[*].metadata.name} {.items[*].metadata.deletionTimestamp}")).toBe("first remote stays web ");
    await cluster.stop();
    await cluster.start();
    await cluster.apply(chart("last", { chart: "https://%{KUBERNETES_API}%/static/charts/web.tgz", driver: "configmap" }));
    await cluster.kubectl("wait", "helmchart/last", "-n", "kube-system", "--for=condition=Deployed", "--timeout=30s");
    expect((await releases()).replace("configmap/sh.helm.release.v1.last.v1\n", "")).toBe(before);
  });

  test("a HelmChart that is deleted takes its release along, and nothing is left of helm on the machine", async () => {
    await cluster.kubectl("delete", "helmchart", "web", "-n", "kube-system", "--timeout=30s");
    expect((await cluster.tryKubectl(["get", "configmap", "web", "-n", "site"])).stderr).toContain("NotFound");
    expect(await cluster.kubectl("get", "secrets", "-n", "site", "-o", "name")).toBe("");
    expect((await cluster.sandbox.run(["sh", "-c", "ls -A /run/k3s/plugins/helm-controller/helm"])).stdout).toBe("");
  });
});
