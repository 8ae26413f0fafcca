/** What kubectl does with objects, and prints: verb after verb, against a server with controllers and without nodes. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Body, useCluster } from "./api.ts";

const api = useCluster({ controllers: true });
let folder: string;
const file = (name: string) => join(folder, name);

const manifest = (image = "example.com/main:1") => `
apiVersion: apps/v1
kind: Deployment
metadata: { name: app }
spec:
  replicas: 2
  selector: { matchLabels: { app: app } }
  template: { metadata: { labels: { app: app } }, spec: { containers: [{ name: main, image: "${image}" }] } }
`;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "k3sp-kubectl-"));
  writeFileSync(file("app.yaml"), manifest());
  writeFileSync(file("kustomization.yaml"), "resources: [app.yaml]\nnamePrefix: kustom-\nlabels: [{ pairs: { by: kustomize }, includeSelectors: true }]\nconfigMapGenerator: [{ name: map, literals: [a=b] }]\n");
  writeFileSync(file("editor.sh"), "#!/bin/sh\nsed -i 's/replicas: 2/replicas: 3/' \"$1\"\n", { mode: 0o755 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Output of a command that must succeed. */
async function kubectl(...args: readonly string[]): Promise<string> {
  const { code, out } = await api.kubectl(args);
  if (code !== 0) throw new Error(`kubectl ${args.join(" ")} ended with ${code}\n${out}`);
  return out;
}
const field = (what: string, path: string) => kubectl("get", ...what.split(" "), "-o", `jsonpath={${path}}`);

describe("apply", () => {
  test("on the client's side: created, unchanged, configured, and a removed field goes", async () => {
    const object = (data: object) => JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "applied" }, data });
    const apply = async (data: object) => (await api.kubectl(["apply", "-f", "-"], object(data))).out;
    expect(await apply({ a: "1", b: "1" })).toBe("configmap/applied created\n");
    expect(await apply({ a: "1", b: "1" })).toBe("configmap/applied unchanged\n");
    expect(await apply({ a: "2" })).toBe("configmap/applied configured\n");
    expect((await api.get("/api/v1/namespaces/default/configmaps/applied")).data).toEqual({ a: "2" });
    expect(await kubectl("apply", "view-last-applied", "configmap/applied")).toContain('a: "2"');
  });

  test("on the server's side: conflicts name manager and field, and are forced", async () => {
    expect(await kubectl("apply", "--server-side", "-f", file("app.yaml"))).toBe("deployment.apps/app serverside-applied\n");
    const other = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    const { code, out } = await api.kubectl(other, manifest("example.com/main:2"));
    expect([code, out]).toEqual([1, expect.stringContaining('Apply failed with 1 conflict: conflict with "kubectl": .spec.template.spec.containers[name="main"].image\n')]);
    expect((await api.kubectl([...other, "--force-conflicts"], manifest("example.com/main:2"))).out).toBe("deployment.apps/app serverside-applied\n");
    const { code: differs, out: diff } = await api.kubectl(["diff", "--server-side", "--field-manager=other", "-f", "-"], manifest("example.com/main:3"));
    expect([differs, diff]).toEqual([1, expect.stringMatching(/^\+ {8}- image: example.com\/main:3$|^\+ +- image: example.com\/main:3$/m)]);
  });

  test("on the server's side takes over what was applied on the client's, without conflicts", async () => {
    const object = (data: object) => JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "moved" }, data });
    const apply = async (data: object, ...more: string[]) => (await api.kubectl(["apply", ...more, "-f", "-"], object(data))).out;
    await apply({ a: "1", b: "1", c: "1" });
    await kubectl("patch", "configmap", "moved", "--type=merge", "-p", '{"data":{"c":"2"}}');
    expect(await apply({ a: "2", c: "3" }, "--server-side")).toContain('conflict with "kubectl-patch" using v1: .data.c\n');
    expect(await apply({ a: "2" }, "--server-side")).toBe("configmap/moved serverside-applied\n");
    const { data, metadata } = await api.get("/api/v1/namespaces/default/configmaps/moved");
    expect(data).toEqual({ a: "2", c: "2" });
    expect(JSON.parse(metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"]).data).toEqual({ a: "2" });
    const owners = metadata.managedFields.map(({ manager, operation, fieldsV1 }: Body) => [manager, operation, Object.keys(fieldsV1["f:data"] ?? {})]);
    expect(owners).toEqual([["kubectl", "Apply", ["f:a"]], ["kubectl-last-applied", "Apply", []], ["kubectl-patch", "Update", ["f:c"]]]);
  });

  test("of what does not exist shows a dry run without a resourceVersion", async () => {
    const { out } = await api.kubectl(["create", "configmap", "dry", "--dry-run=server", "-o", "json"]);
    expect(JSON.parse(out).metadata).toEqual({ name: "dry", namespace: "default", uid: expect.any(String), creationTimestamp: expect.any(String) });
  });

  test("-k builds a kustomization, and deletes it", async () => {
    expect(await kubectl("apply", "-k", folder)).toMatch(/^configmap\/kustom-map-\w+ created\ndeployment.apps\/kustom-app created\n$/);
    expect(await field("deployment kustom-app", ".spec.selector.matchLabels.by")).toBe("kustomize");
    expect(await kubectl("delete", "-k", folder)).toContain('deployment.apps "kustom-app" deleted');
  });
});

describe("changes", () => {
  test.each<[readonly string[], string, string, string]>([
    [["set", "image", "deployment/app", "main=example.com/main:4"], "image updated", ".spec.template.spec.containers[0].image", "example.com/main:4"],
    [["set", "env", "deployment/app", "A=1"], "env updated", ".spec.template.spec.containers[0].env[0].value", "1"],
    [["set", "resources", "deployment/app", "--limits=cpu=1"], "resource requirements updated", ".spec.template.spec.containers[0].resources.limits.cpu", "1"],
    [["set", "serviceaccount", "deployment/app", "default"], "serviceaccount updated", ".spec.template.spec.serviceAccountName", "default"],
    [["label", "deployment/app", "tier=web"], "labeled", ".metadata.labels.tier", "web"],
    [["label", "deployment/app", "tier-"], "unlabeled", ".metadata.labels", ""],
    [["annotate", "deployment/app", "note=yes"], "annotated", ".metadata.annotations.note", "yes"],
    [["patch", "deployment/app", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":5}}'], "patched", ".spec.replicas", "5"],
    [["scale", "deployment/app", "--replicas=2"], "scaled", ".spec.replicas", "2"],
    [["patch", "deployment/app", "--type=json", "-p", '[{"op":"replace","path":"/spec/replicas","value":1}]'], "patched", ".spec.replicas", "1"],
    [["patch", "deployment/app", "--type=merge", "-p", '{"spec":{"replicas":2}}'], "patched", ".spec.replicas", "2"],
    [["patch", "deployment/app", "-p", '{"spec":{"template":{"spec":{"containers":[{"name":"main","workingDir":"/w"}]}}}}'], "patched", ".spec.template.spec.containers[0].image", "example.com/main:4"],
    [["rollout", "pause", "deployment/app"], "paused", ".spec.paused", "true"],
    [["rollout", "resume", "deployment/app"], "resumed", ".spec.paused", ""],
    [["rollout", "restart", "deployment/app"], "restarted", ".spec.replicas", "2"],
  ])("%j", async (args, word, path, value) => {
    expect(await kubectl(...args)).toBe(args.includes("--subresource=scale") ? "scale.autoscaling/app patched\n" : `deployment.apps/app ${word}\n`);
    expect(await field("deployment app", path)).toBe(value);
  });

  test("edit writes what the editor saved", async () => {
    const { env } = process;
    env["KUBE_EDITOR"] = file("editor.sh");
    expect(await kubectl("edit", "deployment/app")).toBe("deployment.apps/app edited\n");
    delete env["KUBE_EDITOR"];
    expect(await field("deployment app", ".spec.replicas")).toBe("3");
  });

  test("scale with a condition", async () => {
    expect(await api.kubectl(["scale", "deployment/app", "--current-replicas=9", "--replicas=1"])).toEqual({ code: 1, out: "error: Expected replicas to be 9, was 3\n" });
  });

  test("history and undo", async () => {
    const revisions = (await kubectl("rollout", "history", "deployment/app")).trim().split("\n").slice(2);
    expect(revisions.length).toBeGreaterThan(4);
    expect(await kubectl("rollout", "history", "deployment/app", "--revision=1")).toMatch(/with revision #1[^]*Image:\s+example.com\/main:1/);
    expect(await kubectl("rollout", "undo", "deployment/app", "--to-revision=1")).toBe("deployment.apps/app rolled back\n");
    expect(await field("deployment app", ".spec.template.spec.containers[0].image")).toBe("example.com/main:1");
  });

  test("replace needs what is there, and --force makes it anew", async () => {
    const uid = await field("deployment app", ".metadata.uid");
    expect(await kubectl("replace", "-f", file("app.yaml"))).toBe("deployment.apps/app replaced\n");
    expect(await field("deployment app", ".metadata.uid")).toBe(uid);
    expect(await kubectl("replace", "--force", "-f", file("app.yaml"))).toBe('deployment.apps "app" deleted from default namespace\ndeployment.apps/app replaced\n');
    expect(await field("deployment app", ".metadata.uid")).not.toBe(uid);
  });
});

describe("create", () => {
  test.each<[string, string]>([
    ["secret generic s --from-literal=a=b", "secret/s"],
    ["secret tls t --cert=CERT --key=KEY", "secret/t"],
    ["configmap c --from-literal=a=b", "configmap/c"],
    ["job j --image=example.com/j -- true", "job.batch/j"],
    ["cronjob cj --image=example.com/j --schedule=0/5_*_*_*_* -- true", "cronjob.batch/cj"],
    ["job from --from=cronjob/cj", "job.batch/from"],
    ["role r --verb=get --resource=pods", "role.rbac.authorization.k8s.io/r"],
    ["rolebinding rb --role=r --serviceaccount=default:default", "rolebinding.rbac.authorization.k8s.io/rb"],
    ["clusterrole cr --verb=get --non-resource-url=/x", "clusterrole.rbac.authorization.k8s.io/cr"],
    ["clusterrolebinding crb --clusterrole=cr --user=jane", "clusterrolebinding.rbac.authorization.k8s.io/crb"],
    ["quota q --hard=secrets=99", "resourcequota/q"],
    ["poddisruptionbudget pdb --selector=app=app --min-available=1", "poddisruptionbudget.policy/pdb"],
    ["priorityclass pc --value=10", "priorityclass.scheduling.k8s.io/pc"],
    ["ingress i --class=x --rule=foo.example/*=app:80", "ingress.networking.k8s.io/i"],
    ["service nodeport np --tcp=80", "service/np"],
    ["service externalname en --external-name=example.com", "service/en"],
    ["serviceaccount sa", "serviceaccount/sa"],
    ["namespace space", "namespace/space"],
    ["deployment dep --image=example.com/d --replicas=0", "deployment.apps/dep"],
  ])("%s", async (args, name) => {
    const words = args.split(" ").map((word) => word.replaceAll("_", " ").replace("CERT", file("tls.crt")).replace("KEY", file("tls.key")));
    if (args.includes("CERT")) await selfSigned();
    expect(await kubectl("create", ...words)).toBe(`${name} created\n`);
    expect((await kubectl("get", name, "-o", "name")).trim()).toBe(name);
  });

  async function selfSigned(): Promise<void> {
    const { execFileSync } = await import("node:child_process");
    execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x", "-keyout", file("tls.key"), "-out", file("tls.crt")], { stdio: "pipe" });
  }

  test("token: bound to the account, and accepted", async () => {
    const token = (await kubectl("create", "token", "default", "--duration=10m")).trim();
    const { status, body } = await api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", { spec: { token } });
    expect([status, body.status.authenticated, body.status.user.username]).toEqual([201, true, "system:serviceaccount:default:default"]);
  });

  test("expose and autoscale", async () => {
    expect(await kubectl("expose", "deployment", "app", "--port=80", "--target-port=8080")).toBe("service/app exposed\n");
    expect(await field("service app", ".spec.selector")).toBe('{"app":"app"}');
    expect(await kubectl("autoscale", "deployment/app", "--min=1", "--max=3", "--cpu=50%")).toBe("horizontalpodautoscaler.autoscaling/app autoscaled\n");
    expect(await kubectl("get", "hpa", "app")).toMatch(/^NAME\s+REFERENCE\s+TARGETS\s+MINPODS\s+MAXPODS\s+REPLICAS\s+AGE\napp\s+Deployment\/app\s+cpu: <unknown>\/50%\s+1\s+3\s/);
  });
});

describe("reads", () => {
  test("explain: fields, required ones, all of them", async () => {
    expect(await kubectl("explain", "ingress.spec.rules.http.paths")).toMatch(/FIELD: paths <\[\]HTTPIngressPath>[^]*backend\s+<IngressBackend> -required-[^]*pathType\s+<string> -required-/);
    expect(await kubectl("explain", "deployment", "--recursive")).toMatch(/ {6}spec\t<PodSpec>[^]* {8}containers\t<\[\]Container> -required-\n {10}args\t<\[\]string>/);
    expect(await kubectl("explain", "hpa", "--api-version=autoscaling/v2")).toMatch(/GROUP:\s+autoscaling\nKIND:\s+HorizontalPodAutoscaler\nVERSION:\s+v2/);
    expect(await kubectl("explain", "pod.spec.restartPolicy")).toMatch(/FIELD: restartPolicy <string>\nENUM:\n\s+Always\n\s+Never\n\s+OnFailure\n/);
    expect((await api.kubectl(["explain", "pod.spec.nope"])).out).toContain('error: field "nope" does not exist\n');
  });

  test("auth: can-i, its list, whoami, reconcile", async () => {
    expect(await kubectl("auth", "can-i", "--list")).toMatch(/^Resources\s+Non-Resource URLs\s+Resource Names\s+Verbs\s*\n\*\.\*\s+\[\]\s+\[\]\s+\[\*\]/);
    expect(await api.kubectl(["auth", "can-i", "delete", "pods", "--as=jane"])).toEqual({ code: 1, out: "no\n" });
    expect(await kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")).toBe("system:admin");
    const role = { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole", metadata: { name: "reconciled" }, rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }] };
    expect((await api.kubectl(["auth", "reconcile", "-f", "-"], JSON.stringify(role))).out).toMatch(/^clusterrole.rbac.authorization.k8s.io\/reconciled reconciled\n/);
  });

  test("api-resources and api-versions", async () => {
    expect(await kubectl("api-resources", "--api-group=batch", "-o", "wide", "--no-headers")).toMatch(/^cronjobs\s+cj\s+batch\/v1\s+true\s+CronJob\s+create,delete,deletecollection,get,list,patch,update,watch\s+all\njobs\s/);
    expect((await kubectl("api-versions")).trim().split("\n")).toEqual(expect.arrayContaining(["autoscaling/v1", "autoscaling/v2", "storage.k8s.io/v1"]));
  });

  test("get: columns, paths, sorting, labels, raw", async () => {
    expect(await kubectl("get", "deployments", "app", "-o", "custom-columns=N:.metadata.name,R:.spec.replicas")).toBe("N     R\napp   2\n");
    expect(await kubectl("get", "deployment", "app", "-o", "go-template={{.metadata.name}}")).toBe("app");
    expect((await kubectl("get", "deployments", "--sort-by=.spec.replicas", "-o", "name")).trim().split("\n").at(0)).toBe("deployment.apps/dep");
    expect(await kubectl("get", "pods", "-l", "app=app", "--show-labels", "--no-headers")).toMatch(/^app-\S+\s+0\/1\s+Pending\s+0\s+\S+\s+app=app,pod-template-hash=/);
    expect(await kubectl("get", "--raw", "/livez")).toBe("ok");
    expect(await kubectl("get", "all", "-l", "app=app")).toMatch(/^pod\/app-[^]*replicaset.apps\/app-/m);
    expect((await kubectl("get", "events")).split("\n")[0]).toMatch(/^LAST SEEN\s+TYPE\s+REASON\s+OBJECT\s+MESSAGE$/);
    expect(await kubectl("events", "--for", "deployment/app")).toMatch(/Normal\s+ScalingReplicaSet\s+Deployment\/app\s+Scaled up replica set app-/);
    expect(await kubectl("describe", "deployment", "app")).toMatch(/Replicas:\s+2 desired \| 2 updated \| 2 total \| 0 available \| 2 unavailable/);
  });

  test("wait: for a condition, a value, and an end", async () => {
    expect(await kubectl("wait", "--for=jsonpath={.spec.replicas}=2", "deployment/app", "--timeout=5s")).toBe("deployment.apps/app condition met\n");
    expect(await kubectl("wait", "--for=condition=Progressing", "deployment/app", "--timeout=5s")).toBe("deployment.apps/app condition met\n");
    expect(await api.kubectl(["wait", "--for=condition=Available", "deployment/app", "--timeout=1s"])).toEqual({ code: 1, out: "error: timed out waiting for the condition on deployments/app\n" });
    const waits = api.kubectl(["wait", "--for=delete", "configmap/c", "--timeout=10s"]);
    await kubectl("delete", "configmap", "c");
    expect((await waits).code).toBe(0);
  });
});

describe("delete", () => {
  const sets = async () => (await api.get("/apis/apps/v1/namespaces/default/replicasets?labelSelector=app=app")).items.map((set: Body) => set.metadata.name as string);
  const pods = async () => (await api.get("/api/v1/namespaces/default/pods?labelSelector=app=app")).items.length as number;

  test("--cascade=orphan leaves the dependents, and a new owner adopts them", async () => {
    const before = await sets();
    expect(await kubectl("delete", "deployment", "app", "--cascade=orphan")).toContain('deployment.apps "app" deleted');
    expect(await sets()).toEqual(before);
    await kubectl("apply", "-f", file("app.yaml"));
    await kubectl("wait", "--for=jsonpath={.status.replicas}=2", "deployment/app", "--timeout=10s");
    expect(await sets()).toEqual(before);
  });

  test("--cascade=foreground takes the dependents first, --cascade=background after", async () => {
    await kubectl("delete", "deployment", "app", "--cascade=foreground", "--timeout=20s");
    expect([await sets(), await pods()]).toEqual([[], 0]);
    await kubectl("apply", "-f", file("app.yaml"));
    await kubectl("wait", "--for=jsonpath={.status.replicas}=2", "deployment/app", "--timeout=10s");
    await kubectl("delete", "deployment", "app", "--cascade=background");
    await kubectl("wait", "--for=delete", "pods", "-l", "app=app", "--timeout=10s");
    expect(await sets()).toEqual([]);
  });

  test("what is not there is an error unless told otherwise", async () => {
    expect(await api.kubectl(["delete", "pod", "nope"])).toEqual({ code: 1, out: 'Error from server (NotFound): pods "nope" not found\n' });
    expect(await api.kubectl(["delete", "pod", "nope", "--ignore-not-found"])).toEqual({ code: 0, out: "" });
  });
});

describe("what is refused is told", () => {
  beforeAll(() => api.post("/api/v1/namespaces/default/pods", { metadata: { name: "refuses" }, spec: { containers: [{ name: "c", image: "example.com/c" }] } }));

  test.each<[string[], string]>([
    [["patch", "pod", "refuses", "-p", '{"spec":{"priority":"high"}}'], 'The request is invalid: patch: Invalid value: "map[spec:map[priority:high]]": unrecognized type: int32\n'],
    [["patch", "pod", "refuses", "--type=merge", "-p", '{"spec":{"hostNetwork":true}}'], 'The Pod "refuses" is invalid: spec: Forbidden: pod updates may not change fields other than'],
    [["get", "pods", "-l", "a in b"], "unable to parse requirement: found 'b' expected: '('\n"],
    [["get", "pods", "--field-selector", "a"], "invalid selector: 'a'; can't understand 'a'\n"],
  ])("%j", async (args, message) => {
    const { code, out } = await api.kubectl(args);
    expect([code, out]).toEqual([1, expect.stringContaining(message)]);
  });
});
