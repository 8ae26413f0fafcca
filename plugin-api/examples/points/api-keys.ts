/** An authenticator: clients send `x-api-key`, and a Secret in kube-system says whose key it is. */
import { createHash } from "node:crypto";
import { definePlugin } from "@k3s-p/plugin-api";
import { secrets, type Secret } from "@k3s-p/plugin-api/kube";
import { authenticator } from "@k3s-p/plugin-api/points";
import { kube } from "@k3s-p/plugin-api/slots";

const LABEL = "api-keys.example.com/user";

export default definePlugin({
  manifest: {
    name: "api-keys", version: "1.0.0", contributes: ["apiserver.authenticator"],
    permissions: { kube: [{ groups: [""], resources: ["secrets"], verbs: ["list", "watch"] }] },
  },
  needs: { kube },
  async start(ctx) {
    const known = ctx.needs.kube.informer(secrets, { namespace: "kube-system", labelSelector: LABEL });
    ctx.defer(() => known.stop());
    await known.synced;
    ctx.contribute(authenticator, {
      name: "api-keys",
      authenticate({ headers }) {
        const key = headers["x-api-key"];
        if (typeof key !== "string") return undefined;
        const found = known.list().find((secret) => hashOf(secret) === sha256(key));
        return found && { name: found.metadata.labels![LABEL]!, groups: ["api-keys"] };
      },
    });
  },
});

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** The Secret holds the hash of the key, so that reading it does not let one in. */
const hashOf = ({ data }: Secret): string => Buffer.from(data?.sha256 ?? "", "base64").toString();
