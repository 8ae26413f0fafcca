/** An admission plugin: images come from the company's registry, and pods say who pays for them. */
import { definePlugin } from "@k3s-p/plugin-api";
import { forbidden, type KubeObject } from "@k3s-p/plugin-api/kube";
import { admission, type AdmissionRequest } from "@k3s-p/plugin-api/points";

interface Config {
  /** Prefixes of images that may run. */
  readonly allowed?: readonly string[];
}

interface Pod extends KubeObject {
  readonly spec: Readonly<Partial<Record<"containers" | "initContainers", readonly { readonly name: string; readonly image: string }[]>>>;
}

const LABEL = "registries.example.com/payer";

export default definePlugin<undefined, {}, {}, Config>({
  manifest: { name: "registries", version: "1.0.0", contributes: ["apiserver.admission"] },
  start(ctx) {
    const { allowed = ["registry.example.com/"] } = ctx.config;
    ctx.contribute(admission, {
      name: "Registries",
      // The object may be shared: a mutator gives back another one.
      mutate(request) {
        const { object } = request;
        if (!object || !isNewPod(request) || object.metadata?.labels?.[LABEL]) return object;
        return { ...object, metadata: { ...object.metadata, labels: { ...object.metadata?.labels, [LABEL]: request.namespace } } };
      },
      validate(request) {
        if (!isNewPod(request)) return;
        const { spec } = request.object as Pod;
        const foreign = [...(spec.initContainers ?? []), ...(spec.containers ?? [])].filter(({ image }) => !allowed.some((prefix) => image.startsWith(prefix)));
        if (foreign.length === 0) return;
        throw forbidden({ group: "", plural: "pods" }, request.name, `${foreign.map(({ name, image }) => `container ${name} runs ${image}`).join(", ")}; images come from ${allowed.join(" or ")}`);
      },
    });
  },
});

const isNewPod = ({ resource, group, operation, subresource }: AdmissionRequest): boolean =>
  group === "" && resource === "pods" && operation === "CREATE" && subresource === "";
