/** The JavaScript client does with a whole cluster what controllers and tools do. */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { sandboxUnavailable } from "../kit/sandbox.ts";
import { useCluster } from "./use-cluster.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: clients ${reason}`);

const talker = `
apiVersion: v1
kind: Pod
metadata: { name: talker }
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: docker.io/library/busybox:e2e
    command: [sh, -c, "mkdir -p /tmp/w; echo hello > /tmp/w/index.html; httpd -p 8080 -h /tmp/w; while true; do echo line; sleep 0.2; done"]
`;

describe.skipIf(reason)("@kubernetes/client-node", () => {
  const cluster = useCluster({ args: ["--disable", "traefik"], manifest: talker, until: ["wait", "--for=condition=Ready", "pod/talker"] });
  // oxlint-disable-next-line no-explicit-any -- one member for each test below
  let seen: any;
  beforeAll(async () => {
    const { code, stdout, stderr } = await cluster.sandbox.run([process.execPath, join(import.meta.dirname, "javascript-client.ts")], { env: { KUBECONFIG: "/etc/rancher/k3s/k3s.yaml" }, timeout: 90_000 });
    if (code !== 0) throw new Error(`the client ended with ${code}\n${stdout}${stderr}`);
    seen = JSON.parse(stdout);
  });

  test("an informer lists, and follows changes", () => {
    expect(seen.informer).toEqual(["add before 0", "add later 1", "update later 2", "delete before 0", "left later"]);
  });
  test("a watch starts at the version of a list", () => expect(seen.watch).toEqual(["DELETED later"]));
  test("patches of every kind, and errors with their reason", () => {
    const [seconds, annotation, container, applied, failed] = seen.patches;
    expect([seconds, annotation, applied, failed]).toEqual([5, "b", [3, ["me"]], [404, "NotFound"]]);
    expect(container).toMatchObject({ name: "c", image: "example.com/c", env: [{ name: "A", value: "1" }] });
  });
  test("exec carries input, output, errors and the exit code", () => {
    expect(seen.exec).toEqual({ out: "got this\n", errors: "bad\n", end: "Failure", code: "3" });
  });
  test("logs are read and followed", () => {
    expect(seen.log.whole).toBe("line\n");
    expect(seen.log.followed).toMatch(/^(\d{4}-\d\d-\d\dT\S+Z line\n){2,}/);
  });
  test("port-forward reaches the container", () => expect(seen.portForward).toMatch(/^HTTP\/1\.\d 200 OK/));
  test("metrics of node and pod", () => {
    expect(seen.metrics).toEqual({ node: "node1", cpu: expect.stringMatching(/^\d+n$/), containers: ["main"] });
  });
});
