/**
 * The serviceaccount-token controller: fills Secrets of type `kubernetes.io/service-account-token`, and deletes those whose
 * account is gone. For clients from before Kubernetes 1.24, which wait for it, every account also gets such a Secret: when the
 * API server has noticed one (the ConfigMap kube-system/legacy-clients).
 */
import { createHash, createPrivateKey, createPublicKey, sign, type KeyObject } from "node:crypto";
import { configMaps, isAlreadyExists, randomSuffix, secrets, serviceAccounts, splitKey, type Secret, type ServiceAccount } from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";
import { isTerminatingNamespace } from "../lib/pod-control.ts";

const TYPE = "kubernetes.io/service-account-token";
const NAME = "kubernetes.io/service-account.name";
const UID = "kubernetes.io/service-account.uid";
const ISSUER = "kubernetes/serviceaccount";

export async function start(deps: ControllerDeps): Promise<void> {
  const { client } = deps;
  const key = createPrivateKey((await deps.pki.serviceAccountKey()).privateKey);
  const ca = encode(deps.pki.ca("server-ca").cert);
  const c = createController(deps, "serviceaccount-token");
  const accounts = c.follow(serviceAccounts);
  const tokens = c.follow(secrets, (secret) => {
    const account = secret.type === TYPE && secret.metadata.annotations?.[NAME];
    return account ? `${secret.metadata.namespace}/${account}` : undefined;
  });
  const notes = c.follow(configMaps, (map) => (isNote(map.metadata) ? accounts.list().map(keyOfAccount) : undefined));

  c.run(async (account) => {
    const [namespace, name] = splitKey(account);
    const owner = accounts.get(name, namespace);
    const own = tokens.list(namespace).filter((s) => s.type === TYPE && s.metadata.annotations?.[NAME] === name);
    for (const secret of own) await (owner ? fill(secret, owner) : remove(secret));
    if (!owner || owner.metadata.deletionTimestamp) return;
    if (own.length === 0 && notes.get("legacy-clients", "kube-system")) await give(owner);
    else await forget(owner);
  });

  async function fill(secret: Secret, owner: ServiceAccount): Promise<void> {
    const { metadata, data } = secret;
    if (metadata.annotations?.[UID] && metadata.annotations[UID] !== owner.metadata.uid) return remove(secret);
    if (metadata.annotations?.[UID] && data?.token && data["ca.crt"] === ca && data.namespace) return;
    await client.update(secrets, filled(secret, owner));
  }

  const filled = (secret: Secret, owner: ServiceAccount): Secret => ({
    ...secret,
    metadata: { ...secret.metadata, annotations: { ...secret.metadata.annotations, [UID]: owner.metadata.uid! } },
    data: { ...secret.data, "ca.crt": ca, namespace: encode(owner.metadata.namespace!), token: secret.data?.token ?? encode(mint(key, secret, owner)) },
  });

  async function remove({ metadata }: Secret): Promise<void> {
    await client.delete(secrets, metadata.name!, { namespace: metadata.namespace!, preconditions: { uid: metadata.uid! } });
  }

  /** The Secret first: an account never names one that does not exist. */
  async function give(owner: ServiceAccount): Promise<void> {
    const { name, namespace } = owner.metadata;
    const bare = {
      apiVersion: "v1", kind: "Secret", type: TYPE,
      metadata: { name: `${name}-token-${randomSuffix(5, deps.random)}`, namespace: namespace!, annotations: { [NAME]: name! } },
    };
    try {
      const secret = await client.create(secrets, filled(bare as Secret, owner));
      await client.update(serviceAccounts, { ...owner, secrets: [...(owner.secrets ?? []), { name: secret.metadata.name! }] });
    } catch (error) {
      if (!isAlreadyExists(error) && !isTerminatingNamespace(error)) throw error;
    }
  }

  /** Takes the names of token Secrets that are gone out of the account. */
  async function forget(owner: ServiceAccount): Promise<void> {
    const { name, namespace } = owner.metadata;
    const left = (owner.secrets ?? []).filter((ref) => !ref.name?.startsWith(`${name}-token-`) || tokens.get(ref.name, namespace));
    if (left.length !== (owner.secrets?.length ?? 0)) await client.update(serviceAccounts, { ...owner, secrets: left });
  }
}

const isNote = ({ name, namespace }: { name?: string; namespace?: string }): boolean => name === "legacy-clients" && namespace === "kube-system";
const keyOfAccount = ({ metadata }: ServiceAccount): string => `${metadata.namespace}/${metadata.name}`;
const encode = (text: string): string => Buffer.from(text).toString("base64");

const digests: Readonly<Record<string, readonly [alg: string, digest: string]>> = {
  prime256v1: ["ES256", "sha256"], secp384r1: ["ES384", "sha384"], secp521r1: ["ES512", "sha512"], rsa: ["RS256", "sha256"],
};

/** The usual algorithm (RFC 7518, RFC 8037) of the key, which may be one that an administrator brought. */
function algorithmOf(key: KeyObject): readonly [alg: string, digest: string | null] {
  if (key.asymmetricKeyType === "ed25519") return ["EdDSA", null];
  const found = digests[key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType ?? ""];
  if (!found) throw new Error(`a key of type ${key.asymmetricKeyType} signs no tokens; use RSA, EC or Ed25519`);
  return found;
}

/** As the API server names its keys: the hash of the public key's DER form. */
const idOf = (key: KeyObject): string => createHash("sha256").update(createPublicKey(key).export({ type: "spki", format: "der" })).digest("base64url");

/** A token without an end, as upstream writes it into a Secret; it dies with the Secret. */
function mint(key: KeyObject, secret: Secret, owner: ServiceAccount): string {
  const { name, namespace, uid } = owner.metadata;
  const [alg, digest] = algorithmOf(key);
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claim = "kubernetes.io/serviceaccount";
  const payload = `${part({ alg, kid: idOf(key) })}.${part({
    iss: ISSUER, sub: `system:serviceaccount:${namespace}:${name}`,
    [`${claim}/namespace`]: namespace, [`${claim}/secret.name`]: secret.metadata.name,
    [`${claim}/service-account.name`]: name, [`${claim}/service-account.uid`]: uid,
  })}`;
  return `${payload}.${sign(digest, Buffer.from(payload), { key, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
}
