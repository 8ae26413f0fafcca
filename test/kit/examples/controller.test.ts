/** How a controller is tested against a true API server: start a cluster, start the controller, say what should be. */
import { expect, test, vi } from "vitest";
import { definePlugin } from "@k3s-p/plugin-api";
import { configMaps, defineResource, namespaces, workQueue, type Namespace } from "@k3s-p/plugin-api/kube";
import { kube } from "@k3s-p/plugin-api/slots";
import { createTestCluster } from "../index.ts";

/** Keeps a ConfigMap `greeting` in every namespace that has the label `greet`. */
const greeter = definePlugin({
  manifest: {
    name: "greeter", version: "1.0.0",
    // Enforced as on a server: what is not declared is forbidden.
    permissions: { kube: [
      { groups: [""], resources: ["namespaces"], verbs: ["get", "list", "watch"] },
      { groups: [""], resources: ["configmaps"], verbs: ["create", "patch"] },
    ] },
  },
  needs: { kube },
  async start(ctx) {
    const client = ctx.needs.kube;
    const informer = client.informer(namespaces, { labelSelector: "greet" });
    const queue = workQueue({
      name: "greeter",
      async reconcile(name) {
        const namespace: Namespace | undefined = informer.get(name);
        if (!namespace) return;
        const data = { text: `hello ${namespace.metadata.labels!.greet}` };
        await client.patch(configMaps, "greeting", { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "greeting" }, data }, { namespace: name, type: "apply", force: true, fieldManager: "greeter" });
      },
    });
    ctx.defer(() => queue.stop());
    ctx.defer(() => informer.stop());
    const add = (object: Namespace) => queue.add(object.metadata.name!);
    informer.on({ added: add, updated: add });
    await informer.synced;
  },
});

const greeting = async (client: Awaited<ReturnType<typeof createTestCluster>>["kube"], namespace: string) =>
  (await client.get(configMaps, "greeting", namespace)).data?.text;

test("greets every namespace that asks for it, and follows its label", async () => {
  await using cluster = await createTestCluster({ plugins: { greeter } });
  await cluster.kube.create(namespaces, { metadata: { name: "team", labels: { greet: "team" } } });
  await vi.waitFor(async () => expect(await greeting(cluster.kube, "team")).toBe("hello team"));
  await cluster.kube.patch(namespaces, "team", { metadata: { labels: { greet: "everybody" } } });
  await vi.waitFor(async () => expect(await greeting(cluster.kube, "team")).toBe("hello everybody"));
});

test("runs beside the real controllers", async () => {
  await using cluster = await createTestCluster({ plugins: { greeter }, controllers: ["namespace-controller", "serviceaccount-controller"] });
  await cluster.kube.create(namespaces, { metadata: { name: "short", labels: { greet: "short" } } });
  await vi.waitFor(async () => expect(await greeting(cluster.kube, "short")).toBe("hello short"));
  await cluster.kube.delete(namespaces, "short");
  await vi.waitFor(async () => expect((await cluster.kube.list(namespaces)).items.map((n) => n.metadata.name)).not.toContain("short"), 5_000);
});

test("a resource that does not exist is an error of the API server, as in a real cluster", async () => {
  await using cluster = await createTestCluster({ listen: false });
  await expect(cluster.kube.list(defineResource("example.com", "v1", "widgets", "Widget"))).rejects.toMatchObject({ code: 404 });
});
