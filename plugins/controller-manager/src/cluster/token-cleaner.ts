/** The token-cleaner controller: deletes bootstrap tokens whose time is over. */
import { isConflict, isNotFound, secrets, type Secret } from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";

const NAMESPACE = "kube-system";
const TYPE = "bootstrap.kubernetes.io/token";

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "token-cleaner");
  const informer = c.follow(secrets, (secret, { deleted }) => (deleted || endOf(secret) === undefined ? undefined : secret.metadata.name));
  c.run(async (name) => {
    const secret = informer.get(name, NAMESPACE);
    const end = secret && endOf(secret);
    if (end === undefined) return;
    const left = end - now().getTime();
    if (left > 0) return left;
    try {
      await client.delete(secrets, name, { namespace: NAMESPACE, preconditions: { uid: secret!.metadata.uid! } });
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  });
}

/** When a token expires; undefined for what is no token, or one without an end. A date that cannot be read is left alone. */
function endOf({ metadata, type, data }: Secret): number | undefined {
  if (metadata.namespace !== NAMESPACE || type !== TYPE) return undefined;
  const end = Date.parse(Buffer.from(data?.expiration ?? "", "base64").toString());
  return Number.isNaN(end) ? undefined : end;
}
