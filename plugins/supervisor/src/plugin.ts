/** Registers the supervisor: what agents ask for on the API server's port before they can use the API. */
import { join } from "node:path";
import { definePlugin } from "@k3s-p/plugin-api";
import { conditionIsTrue, nodes, type Node } from "@k3s-p/plugin-api/kube";
import { admission, authenticator, route } from "@k3s-p/plugin-api/points";
import { kube, node, pki } from "@k3s-p/plugin-api/slots";
import { BASE, basicAuth } from "./basic-auth.ts";
import { createNodePasswords, passwordIn } from "./node-password.ts";
import { ownNodeAdmission } from "./own-node-admission.ts";

interface Config {
  readonly nodePasswordFile: string;
}

/** Users of the two passwords, nodes, and the holders of bootstrap tokens, as in K3s. */
const joiners = ["k3s:agent", "k3s:server", "system:nodes", "system:bootstrappers:k3s:default-node-token"];

const needs = { kube, node, pki };

export default definePlugin<undefined, typeof needs, {}, Config>({
  needs,
  async start(ctx) {
    const { kube: client, node: self, pki: keys } = ctx.needs;
    const informer = client.informer<Node>(nodes);
    const failed = (error: unknown): void => ctx.log.error({ err: error }, "the password of a node is not as it should be");
    const passwords = createNodePasswords({ client, isNode: (name) => informer.get(name) !== undefined, onError: failed });
    ctx.defer(() => {
      informer.stop();
      passwords.stop();
    });
    informer.on({ deleted: ({ metadata, status }) => void passwords.release(metadata.name!, conditionIsTrue(status?.conditions, "Ready")).catch(failed) });

    ctx.contribute(authenticator, basicAuth({ server: self.paths.token, agent: join(self.paths.server, "agent-token") }));
    ctx.contribute(admission, ownNodeAdmission);
    ctx.contribute(route, {
      path: BASE, methods: ["GET", "POST"], groups: joiners,
      // Loaded when the first agent comes.
      answer: async (request) => (await import("./routes.ts")).answer({ client, self, pki: keys, nodes: informer, passwords }, request),
    });
    const claim = ({ metadata }: Node): void => {
      if (metadata.name === self.name) void passwords.claim(self.name, () => passwordIn(ctx.config.nodePasswordFile)).catch(failed);
    };
    // Not before: to hash takes a tenth of a second of work, and nobody waits for it.
    ctx.tap(ctx.hooks.serverReady, () => void informer.on({ added: claim }));
  },
});
