/** Commands on a machine where no server runs. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createSandbox, sandboxUnavailable, type Sandbox } from "../kit/sandbox.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: bare machine ${reason}`);
const root = join(import.meta.dirname, "../..");
const k3sp = [join(root, "node_modules/node/bin/node"), join(root, "core/src/cli/main.ts")];

describe.skipIf(reason)("a machine without a server", () => {
  let sandbox: Sandbox;
  beforeAll(() => void (sandbox = createSandbox()));
  afterAll(() => sandbox?.dispose());

  test("kubectl says where the kubeconfig will come from, and what needs no server works", async () => {
    const env = { HOME: sandbox.dir, KUBECONFIG: "" };
    const { code, stdout, stderr } = await sandbox.run([...k3sp, "kubectl", "version", "--client"], { env });
    expect([code, stderr]).toEqual([0, "/etc/rancher/k3s/k3s.yaml is not there yet: the server writes it when it starts\n"]);
    expect(stdout).toContain("Client Version: ");
  });

  test("killall removes what it can, and names the network namespaces that another mount hides", async () => {
    const script = "cd /run/netns && touch cni-free cni-hidden && mount --bind /proc/self/ns/net cni-hidden && mount --rbind /run/netns /run/netns";
    expect(await sandbox.run(["sh", "-c", script])).toMatchObject({ code: 0, stderr: "" });
    const { code, stdout, stderr } = await sandbox.run([...k3sp, "killall"]);
    expect([code, stderr]).toEqual([1, "not removed: /run/netns/cni-hidden (EBUSY)\n"]);
    expect(stdout).toMatch(/^stopped 0 processes, removed \d+ mounts/);
    expect((await sandbox.run(["ls", "/run/netns"])).stdout).toBe("cni-hidden\n");
  });
});
