/** Claims and volumes: default class, protection while in use, and who may grow. Also the default ingress class. */
import { compareQuantity } from "@k3s-p/plugin-api/kube";
import type { AdmissionPlugin } from "@k3s-p/plugin-api/points";
import type { Obj } from "../resources/types.ts";
import { type AdmissionDeps, newestDefault, refuse, toPlugin } from "./common.ts";

const defaultClassAnnotations = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const classAnnotation = "volume.beta.kubernetes.io/storage-class";

export const defaultStorageClass = ({ view }: Pick<AdmissionDeps, "view">): AdmissionPlugin => toPlugin({
  name: "DefaultStorageClass", resources: ["persistentvolumeclaims"], operations: ["CREATE"],
  mutate(claim) {
    // The empty string is a choice: no class.
    if (claim.spec.storageClassName !== undefined || claim.metadata?.annotations?.[classAnnotation] !== undefined) return;
    const found = newestDefault(view.list("storage.k8s.io", "storageclasses"), defaultClassAnnotations);
    if (found) claim.spec.storageClassName = found.metadata!.name;
  },
});

export const defaultIngressClass = ({ view }: Pick<AdmissionDeps, "view">): AdmissionPlugin => toPlugin({
  name: "DefaultIngressClass", resources: ["ingresses.networking.k8s.io"], operations: ["CREATE"],
  mutate(ingress) {
    if (ingress.spec?.ingressClassName !== undefined) return;
    if (ingress.metadata?.annotations?.["kubernetes.io/ingress.class"] !== undefined) return;
    const classes = view.list("networking.k8s.io", "ingressclasses");
    const found = newestDefault(classes, ["ingressclass.kubernetes.io/is-default-class"]);
    if (found) ingress.spec = { ...ingress.spec, ingressClassName: found.metadata!.name };
  },
});

const protections: Readonly<Record<string, string>> = {
  persistentvolumeclaims: "kubernetes.io/pvc-protection",
  persistentvolumes: "kubernetes.io/pv-protection",
};

export const storageObjectInUseProtection = (): AdmissionPlugin => toPlugin({
  name: "StorageObjectInUseProtection", resources: Object.keys(protections), operations: ["CREATE"],
  mutate(object, { resource }) {
    const finalizer = protections[resource]!;
    const finalizers = object.metadata!.finalizers ?? [];
    if (!finalizers.includes(finalizer)) object.metadata!.finalizers = [...finalizers, finalizer];
  },
});

export const persistentVolumeClaimResize = ({ view }: Pick<AdmissionDeps, "view">): AdmissionPlugin => toPlugin({
  name: "PersistentVolumeClaimResize", resources: ["persistentvolumeclaims"], operations: ["UPDATE"],
  validate(claim, request) {
    const old = request.oldObject as Obj;
    const [now, before] = [sizeOf(claim), sizeOf(old)];
    if (!now || !before || compareQuantity(now, before) <= 0) return;
    if (old.status?.phase !== "Bound") throw refuse(request, "Only bound persistent volume claims can be expanded");
    const name = claim.metadata?.annotations?.[classAnnotation] ?? claim.spec.storageClassName ?? "";
    if (view.get("storage.k8s.io", "storageclasses", name)?.allowVolumeExpansion !== true) {
      throw refuse(request, "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize");
    }
  },
});

const sizeOf = (claim: Obj): string | undefined => claim.spec?.resources?.requests?.storage;
