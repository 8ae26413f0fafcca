/** Fills the slot `apiserver` on an agent: the server that it has joined. */
import { definePlugin } from "@k3s-p/plugin-api";
import { apiserver, node, pki } from "@k3s-p/plugin-api/slots";
import { createLink, type Link } from "./link.ts";

interface Config {
  readonly server: string;
}

const needs = { node, pki };
const links = new WeakMap<object, Link>();

export default definePlugin<typeof apiserver, typeof needs, {}, Config>({
  provides: apiserver,
  needs,
  start({ config, needs: { node, pki }, log, signal, defer }) {
    const link = createLink({ server: config.server, node, pki, log, signal });
    defer(() => link.close());
    links.set(link.apiserver, link);
    return link.apiserver;
  },
  /** Without the server pods run on, and so does this: it is degraded and not failed, and nothing is restarted. */
  health: (impl) => links.get(impl)!.health(),
});
