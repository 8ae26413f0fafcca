import { expect, test } from "vitest";
import { commandsFor, environment, filesFor, setOptions } from "./arguments.ts";
import type { HelmChartSpec } from "./chart.ts";
import type { Desired } from "./desired.ts";
import type { Step } from "./release.ts";

const places = { work: "/w", statics: "/s/static", api: "127.0.0.1:6443" };
const desired = (spec: HelmChartSpec, more: Partial<Desired> = {}): Desired => ({
  release: { name: "web", namespace: "site", driver: "secret" }, spec, values: [], failurePolicy: "reinstall", backOffLimit: 1000, timeout: 300_000, hash: "abc", ...more,
});
const commands = (spec: HelmChartSpec, more: Partial<Desired> = {}, step: Step = { kind: "upgrade" }) =>
  commandsFor(step, desired(spec, more), places, "r1").map((args) => args.join(" "));
const labels = "--labels=helmcharts.helm.cattle.io/config-hash=abc,helmcharts.helm.cattle.io/run=r1";
const upgrade = `upgrade --install --namespace=site --timeout=300s --reset-values ${labels}`;

test.each<[string, HelmChartSpec, Partial<Desired>, readonly string[]]>([
  ["a URL", { chart: "https://x/web.tgz", version: "1" }, {}, [`${upgrade} --version=1 -- web https://x/web.tgz`]],
  ["a path, and everything that may be said", {
    chart: "/c", createNamespace: true, takeOwnership: true, insecureSkipTLSVerify: true, plainHTTP: true, authPassCredentials: true, set: { a: 1 },
  }, { ca: "PEM", values: ["a: 1", "a: 2"], serverSide: "auto", timeout: 90_500 }, [
    `upgrade --install --namespace=site --timeout=90.5s --reset-values ${labels} --create-namespace --take-ownership --server-side=auto ` +
    "--ca-file=/w/ca.pem --insecure-skip-tls-verify --plain-http --pass-credentials --values=/w/values-000.yaml --values=/w/values-001.yaml --set=a=1 -- web /c",
  ]],
  ["a repository", { chart: "web", repo: "https://x", version: "1" }, { ca: "PEM" }, ["repo update repo", `${upgrade} --version=1 -- web repo/web`]],
  ["an archive of its own, whatever else is said", { chartContent: "x", chart: "web", repo: "https://x", version: "1" }, {}, [`${upgrade} -- web /w/chart.tgz`]],
  ["a file that K3s would serve", { chart: "https://%{KUBERNETES_API}%/static/charts/web.tgz" }, {}, [`${upgrade} -- web /s/static/charts/web.tgz`]],
  ["a file outside of that folder", { chart: "https://%{KUBERNETES_API}%/static/../tls/x.tgz" }, {}, [`${upgrade} -- web /s/static/tls/x.tgz`]],
  ["another URL of the API server", { chart: "https://%{KUBERNETES_API}%/x.tgz" }, {}, [`${upgrade} -- web https://127.0.0.1:6443/x.tgz`]],
  ["a name like an option", { chart: "--post-renderer=/bin/sh" }, {}, [`${upgrade} -- web --post-renderer=/bin/sh`]],
])("upgrades from %s", (_, spec, more, wanted) => expect(commands(spec, more)).toEqual(wanted));

test("rolls back and uninstalls", () => {
  expect(commands({}, {}, { kind: "rollback", to: 3 })).toEqual(["rollback --namespace=site --timeout=300s -- web 3"]);
  expect(commands({}, {}, { kind: "uninstall" })).toEqual(["uninstall --namespace=site --timeout=300s --wait --ignore-not-found -- web"]);
});

test("set: numbers and booleans keep their type, and a comma is a comma", () => {
  expect(setOptions({ "b.c": "text", a: 7, t: "true", n: "null", digits: "8", list: "x,y\\,z" })).toEqual([
    "--set=a=7", "--set-string=b.c=text", "--set-string=digits=8", "--set-string=list=x\\,y\\,z", "--set=n=null", "--set=t=true",
  ]);
});

test("values, CA and logins are files", () => {
  const login = { username: "me", password: "secret" };
  const files = filesFor(desired({ chart: "web", repo: "https://x" }, { values: ["a: 1"], ca: "PEM", login }), places);
  expect(files.get("values-000.yaml")).toBe("a: 1");
  expect(files.get("ca.pem")).toBe("PEM");
  expect(JSON.parse(String(files.get("config/repositories.yaml"))).repositories).toEqual([
    { name: "repo", url: "https://x", username: "me", password: "secret", caFile: "/w/ca.pem", insecure_skip_tls_verify: false, pass_credentials_all: false },
  ]);
  expect(files.has("config/registry/config.json")).toBe(false);
  const registry = filesFor(desired({ chart: "oci://registry:5000/charts/web" }, { login }), places).get("config/registry/config.json");
  expect(JSON.parse(String(registry))).toEqual({ auths: { "registry:5000": { auth: Buffer.from("me:secret").toString("base64") } } });
});

test("the environment leads nowhere but into the run's folder", () => {
  const env = environment(places, "configmap");
  expect(env).toMatchObject({ HOME: "/w", KUBECONFIG: "/w/kubeconfig", HELM_DRIVER: "configmap", HELM_KUBETOKEN: "" });
  expect(Object.entries(env).filter(([name, value]) => value && !value.startsWith("/w") && name !== "HELM_DRIVER")).toEqual([]);
});
