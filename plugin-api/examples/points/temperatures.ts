/** A conversion: `sensors.example.com` had degrees of Fahrenheit in v1, and has degrees of Celsius in v2. */
import { definePlugin } from "@k3s-p/plugin-api";
import type { KubeObject } from "@k3s-p/plugin-api/kube";
import { conversion } from "@k3s-p/plugin-api/points";

interface Sensor extends KubeObject {
  readonly spec: { readonly fahrenheit?: number; readonly celsius?: number };
}

export default definePlugin({
  manifest: { name: "temperatures", version: "1.0.0", contributes: ["apiserver.conversion"] },
  start(ctx) {
    ctx.contribute(conversion, {
      group: "example.com", kind: "Sensor",
      convert: (objects, apiVersion) => (objects as readonly Sensor[]).map((sensor) => ({ ...sensor, apiVersion, spec: specs[apiVersion]!(sensor.spec) })),
    });
  },
});

/** To each version from the other. */
const specs: Readonly<Record<string, (spec: Sensor["spec"]) => Sensor["spec"]>> = {
  "example.com/v1": ({ celsius = 0 }) => ({ fahrenheit: Math.round(celsius * 1.8 + 32) }),
  "example.com/v2": ({ fahrenheit = 32 }) => ({ celsius: Math.round((fahrenheit - 32) / 1.8) }),
};
