/** The promises of the `metrics` slot: an aggregated API that answers the API server and nobody else. */
import assert from "node:assert/strict";
import { request } from "node:https";
import { apiServices, endpointSlices } from "../kube/resources.ts";
import type { Metrics } from "../slots/cluster.ts";
import { startSubject, type Started, type Subject } from "./subject.ts";
import { NotApplicable, test, type ConformanceTest } from "./suite.ts";

const group = "/apis/metrics.k8s.io/v1beta1";

export function metricsSuite(subject: Subject): readonly ConformanceTest[] {
  const each = (name: string, run: (port: number, host: string, started: Started<Metrics>) => Promise<void> | void): ConformanceTest =>
    test(name, [], async (ctx) => {
      const started = await startSubject<Metrics>(subject, ctx);
      ctx.defer(() => started.stop());
      await run(started.impl.port, started.world.node.ip, started);
    });
  return [
    each("it speaks HTTPS at its port", async (port, host) => assert.ok((await status(port, host, group)) > 0)),
    each("the Service that the APIService names leads to its port", (port, host, { world: { kube } }) => {
      const [service] = kube.all(apiServices).filter(({ spec }) => spec?.group === "metrics.k8s.io").map(({ spec }) => spec?.service);
      if (!service) throw new NotApplicable("it deploys no APIService: whoever registers the API leads it to the port");
      const slices = kube.all(endpointSlices, service.namespace).filter(({ metadata }) => metadata.labels?.["kubernetes.io/service-name"] === service.name);
      assert.deepEqual(slices.flatMap(({ endpoints, ports }) => [endpoints?.[0]?.addresses, ports?.map((each) => each.port)]), [[host], [port]]);
    }),
    each("a caller without the API server's certificate is refused, whatever it says who it is", async (port, host) => {
      for (const path of [group, `${group}/nodes`, `${group}/pods`]) {
        const code = await status(port, host, path, { "x-remote-user": "system:admin", "x-remote-group": "system:masters" });
        assert.ok(code === 401 || code === 403, `${path} answered ${code}`);
      }
    }),
  ];
}

function status(port: number, host: string, path: string, headers: Record<string, string> = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    request({ host, port, path, headers, agent: false, rejectUnauthorized: false }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode ?? 0));
    }).on("error", reject).end();
  });
}
