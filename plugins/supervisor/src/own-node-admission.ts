/** Keeps a plugin that runs on an agent from the Nodes of others, whatever its account may do. */
import { forbidden } from "@k3s-p/plugin-api/kube";
import type { AdmissionPlugin } from "@k3s-p/plugin-api/points";

/** The group in a plugin's certificate that says on which node it runs. */
export const NODE_GROUP = "k3sp:node:";

export const ownNodeAdmission: AdmissionPlugin = {
  name: "OwnNode",
  resources: ["nodes"],
  validate({ user, name }) {
    const own = user.groups.find((held) => held.startsWith(NODE_GROUP))?.slice(NODE_GROUP.length);
    if (own === undefined || own === name) return;
    throw forbidden({ group: "", plural: "nodes" }, name, `on node ${JSON.stringify(own)} a plugin may write that Node alone`);
  },
};
