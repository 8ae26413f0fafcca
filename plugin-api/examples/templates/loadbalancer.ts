/** The load balancer TEMPLATE_NAME: gives each Service of its class the address of this node. */
import { definePlugin } from "@k3s-p/plugin-api";
import { keyOf, services, splitKey, workQueue, type Service } from "@k3s-p/plugin-api/kube";
import { kube, loadbalancer, node } from "@k3s-p/plugin-api/slots";

const loadBalancerClass = "example.com/TEMPLATE_NAME";
const needs = { kube, node };

export default definePlugin({
  provides: loadbalancer,
  needs,
  async start(ctx) {
    const { kube: client, node: self } = ctx.needs;
    const informer = client.informer(services);
    ctx.defer(() => informer.stop());
    const queue = workQueue({
      name: ctx.id,
      async reconcile(key) {
        const [namespace, name] = splitKey(key);
        const service = informer.get(name, namespace);
        if (!service) return;
        const wanted = isOurs(service) ? [{ ip: self.ip }] : [];
        const now = service.status?.loadBalancer?.ingress ?? [];
        if (JSON.stringify(now.map(({ ip }) => ({ ip }))) === JSON.stringify(wanted)) return;
        if (!wanted.length && !isReleased(service)) return;
        const status = { loadBalancer: { ingress: wanted.length ? wanted : null } };
        await client.patch(services, name, { status }, { namespace, subresource: "status" });
      },
    });
    ctx.defer(() => queue.stop());
    const add = (service: Service) => queue.add(keyOf(service));
    informer.on({ added: add, updated: add });
    await informer.synced;
    return { loadBalancerClass };
  },
});

const isOurs = ({ spec }: Service): boolean => spec?.type === "LoadBalancer" && (spec.loadBalancerClass ?? loadBalancerClass) === loadBalancerClass;

/** No longer of the type: then an address that it still has must go. */
const isReleased = ({ spec, status }: Service): boolean => spec?.type !== "LoadBalancer" && Boolean(status?.loadBalancer?.ingress?.length);
