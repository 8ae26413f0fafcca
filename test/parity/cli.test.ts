/** kubectl against a server without nodes. */
import { spawn, type ChildProcess } from "node:child_process";
import { rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { expect } from "vitest";
import { tool } from "../kit/tools.ts";
import { type Body, useCluster } from "./api.ts";
import { behaviour } from "./behaviours.ts";

const api = useCluster({ controllers: true });
const ns = "/api/v1/namespaces/default";

behaviour("cli-api-versions", async () => {
  const { code, out } = await api.kubectl(["api-versions"]);
  expect([code, out.split("\n")]).toEqual([0, expect.arrayContaining(["v1", "apps/v1", "apiextensions.k8s.io/v1"])]);
});

behaviour("cli-cluster-info", async () => {
  const { out } = await api.kubectl(["cluster-info"]);
  expect(stripVTControlCharacters(out)).toContain(`Kubernetes control plane is running at ${api.cluster.url}\n`);
});

behaviour("cli-version", async () => {
  const { out } = await api.kubectl(["version"]);
  expect(out).toMatch(/^Client Version: v1\.36\.\d+\nKustomize Version: v\d\S+\nServer Version: v1\.36\.\d+\S+\n$/);
});

const deployment = (image: string) => JSON.stringify({
  apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "differs", namespace: "default" },
  spec: { replicas: 1, selector: { matchLabels: { app: "d" } }, template: { metadata: { labels: { app: "d" } }, spec: { containers: [{ name: "main", image }] } } },
});

behaviour("cli-diff", async () => {
  expect((await api.kubectl(["apply", "-f", "-"], deployment("example.com/one"))).code).toBe(0);
  const { code, out } = await api.kubectl(["diff", "-f", "-"], deployment("example.com/two"));
  expect(code).toBe(1);
  expect(out).toMatch(/^-\s+- image: example.com\/one\n\+\s+- image: example.com\/two$/m);
  expect(await api.kubectl(["diff", "-f", "-"], deployment("example.com/one"))).toEqual({ code: 0, out: "" });
});

behaviour("cli-run-never", async () => {
  expect((await api.kubectl(["run", "once", "--restart=Never", "--image=example.com/once"])).out).toBe("pod/once created\n");
  const { spec } = await api.get(`${ns}/pods/once`);
  expect([spec.restartPolicy, spec.containers[0].image]).toEqual(["Never", "example.com/once"]);
});

behaviour("cli-dry-run", async () => {
  await api.kubectl(["run", "dry", "--image=example.com/one", "--labels=run=dry"]);
  const patch = '{"spec":{"containers":[{"name":"dry","image":"example.com/two"}]}}';
  expect((await api.kubectl(["patch", "pod", "dry", "-p", patch, "--dry-run=server", "-o", "jsonpath={.spec.containers[0].image}"])).out).toBe("example.com/two");
  const { items } = await api.get(`${ns}/pods?labelSelector=run=dry`);
  expect(items.map((pod: Body) => pod.spec.containers[0].image)).toEqual(["example.com/one"]);
});

/** The first line that a proxy prints says where it listens. */
async function withProxy(args: readonly string[], use: (line: string) => Promise<void>): Promise<void> {
  const child: ChildProcess = spawn(tool("kubectl"), ["--kubeconfig", api.cluster.kubeconfigPath, "proxy", ...args]);
  const ended = new Promise((resolve) => child.on("close", resolve));
  try {
    await use(await new Promise((resolve, reject) => {
      child.stdout!.once("data", (chunk: Buffer) => resolve(chunk.toString()));
      child.on("close", () => reject(new Error("kubectl proxy ended")));
    }));
  } finally {
    child.kill();
    await ended;
  }
}

const versions = (options: object) => new Promise<Body>((resolve, reject) => {
  request({ path: "/api/", ...options }, (incoming) => {
    let text = "";
    incoming.on("data", (chunk: Buffer) => (text += chunk)).on("end", () => resolve(JSON.parse(text)));
  }).on("error", reject).end();
});

behaviour("cli-proxy-port", () => withProxy(["--port=0"], async (line) => {
  const [, host, port] = /^Starting to serve on (127\.0\.0\.1):(\d+)/.exec(line) ?? [];
  expect(await versions({ host, port })).toMatchObject({ kind: "APIVersions", versions: ["v1"] });
}));

behaviour("cli-proxy-socket", async () => {
  const socketPath = join(tmpdir(), `k3sp-proxy-${process.pid}.sock`);
  await withProxy([`--unix-socket=${socketPath}`], async () => expect(await versions({ socketPath })).toMatchObject({ versions: ["v1"] }));
  rmSync(socketPath, { force: true });
});
