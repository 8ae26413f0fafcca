/** Keeps a plugin that runs on an agent from the Nodes of others and from volumes on their disks, whatever its account may do. */
import { forbidden, type PersistentVolume } from "@k3s-p/plugin-api/kube";
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";

/** The group in a plugin's certificate that says on which node it runs. */
export const NODE_GROUP = "k3sp:node:";

export const ownNodeAdmission: AdmissionPlugin = {
  name: "OwnNode",
  resources: ["nodes", "persistentvolumes"],
  validate(request) {
    const { user, resource, name } = request;
    const own = user.groups.find((held) => held.startsWith(NODE_GROUP))?.slice(NODE_GROUP.length);
    if (own === undefined) return;
    const isNode = resource === "nodes";
    if (isNode ? own === name : volumesOf(request).every((volume) => isOffDisk(volume) || isTiedTo(volume, own))) return;
    const what = isNode ? "may write that Node alone" : "may write no volumes on the disks of others";
    throw forbidden({ group: "", plural: resource }, name, `on node ${JSON.stringify(own)} a plugin ${what}`);
  },
};

const volumesOf = ({ object, oldObject }: AdmissionRequest): readonly PersistentVolume[] =>
  [object, oldObject].filter((each): each is PersistentVolume => each !== undefined);

const isOffDisk = ({ spec }: PersistentVolume): boolean => !spec?.hostPath && !spec?.local;

/** Pods that use it run on that node only. */
function isTiedTo({ spec }: PersistentVolume, node: string): boolean {
  const terms = spec?.nodeAffinity?.required?.nodeSelectorTerms ?? [];
  const isThere = ({ matchExpressions = [] }: (typeof terms)[number]): boolean => matchExpressions
    .some(({ key, operator, values = [] }) => key === "kubernetes.io/hostname" && operator === "In" && values.join() === node);
  return terms.length > 0 && terms.every(isThere);
}
