/** The table of commands: one file each, loaded when it is asked for. `passThrough` = its arguments are not ours to read. */

export interface Command {
  /** Resolves to the exit code. */
  run(argv: readonly string[]): Promise<number>;
  /** Without `k3s-p`; one a subcommand. */
  usages(): readonly string[] | Promise<readonly string[]>;
}

export const commands: Readonly<Record<string, { readonly summary: string; readonly load: () => Promise<Command>; readonly passThrough?: boolean }>> = {
  server: { summary: "run the cluster: control plane, datastore and a node", load: () => import("./server.ts") },
  agent: { summary: "run a node of a cluster whose server runs elsewhere", load: () => import("./agent.ts") },
  plugin: { summary: "write, test, plan and approve plugins; list, inspect and change those of a running server", load: () => import("./plugin.ts") },
  token: { summary: "create, list, delete or generate bootstrap tokens; rotate the server's token", load: () => import("./token.ts") },
  certificate: { summary: "check or rotate the certificates of a server or an agent; replace the cluster's CAs", load: () => import("./certificate.ts") },
  datastore: { summary: "check, compact, dump or restore the cluster's state", load: () => import("./datastore.ts") },
  "secrets-encrypt": { summary: "encrypt Secrets in the datastore, and change the keys", load: () => import("./secrets-encrypt.ts") },
  kubectl: { summary: "kubectl with the administrator's kubeconfig", load: () => import("./kubectl.ts"), passThrough: true },
  crictl: { summary: "crictl on the containerd of the server", load: () => import("./crictl.ts"), passThrough: true },
  ctr: { summary: "ctr on the containerd of the server", load: () => import("./ctr.ts"), passThrough: true },
  "check-config": { summary: "check whether this machine can carry a node", load: () => import("./check-config.ts") },
  killall: { summary: "stop all containers and undo what the node did to this host", load: () => import("./killall.ts") },
  completion: { summary: "what bash or zsh offers behind k3s-p", load: () => import("./completion.ts") },
  help: { summary: "explain a command, or an error code such as K3SP_SLOT_CONFLICT", load: () => import("./help.ts") },
};
