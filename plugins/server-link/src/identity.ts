/** Whom an agent may act as, and by which certificate: its node, or a plugin's account on that node. */
import { k3spError } from "@k3s-p/plugin-api";
import { pluginAccount, type LeafRequest, type NodeInfo, type UserInfo } from "@k3s-p/plugin-api/slots";

/** Every user is in it; no certificate says so. */
const AUTHENTICATED = "system:authenticated";
const ACCOUNT = pluginAccount("").user;

/** K3s's file names where it has the same. Throws for everybody else: no agent gets a certificate of theirs. */
export function certificateOf(user: UserInfo, { name: node, paths }: NodeInfo): LeafRequest {
  if (user.groups.includes("system:masters")) throw denied(user, "on an agent no plugin can have all rights");
  const groups = user.groups.filter((group) => group !== AUTHENTICATED);
  const common = { ca: "client-ca", commonName: user.name, usage: "client", dir: paths.agent } as const;
  if (user.name === `system:node:${node}`) return { ...common, name: "client-kubelet", organizations: groups };
  if (!user.name.startsWith(ACCOUNT)) throw denied(user, `an agent acts as its node (system:node:${node}) or as the account of a plugin`);
  // The server lets an account that comes from a node change no other node.
  return { ...common, name: `client-${user.name.slice(ACCOUNT.length)}`, organizations: [...groups, `k3sp:node:${node}`] };
}

const denied = ({ name }: UserInfo, why: string) => k3spError("K3SP_PERMISSION_DENIED", {
  message: `${name}: ${why}`, fix: "list in permissions.kube of the plugin's manifest what it needs, or run it on a server alone (roles)",
});
