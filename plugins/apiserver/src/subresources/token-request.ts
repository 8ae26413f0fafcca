/** `serviceaccounts/token`: mints a token for an account, bound to a pod, secret or node if asked. */
import { badRequest, conflict, invalid, notFound, timestamp } from "@k3s-p/plugin-api/kube";
import type { FieldError } from "@k3s-p/plugin-api/kube";
import { type Note, tokenCredential } from "../auth/authenticate.ts";
import type { TokenKeys, TokenSubject } from "../auth/tokens.ts";
import type { CacheView, Obj } from "../resources/types.ts";

export interface TokenRequestDeps {
  readonly view: CacheView;
  readonly tokens: TokenKeys;
  readonly now: () => Date;
  readonly note?: Note | undefined;
}

const MIN_SECONDS = 600;
const MAX_SECONDS = 2 ** 32;
const DEFAULT_SECONDS = 3600;

/** The answered TokenRequest. */
export function requestToken(body: Obj, namespace: string, name: string, { view, tokens, now, note }: TokenRequestDeps): Obj {
  const account = view.get("", "serviceaccounts", name, namespace);
  if (!account) throw notFound({ group: "", plural: "serviceaccounts" }, name);
  checkNames(body, namespace, name);
  const { audiences = [], expirationSeconds = DEFAULT_SECONDS, boundObjectRef } = body.spec ?? {};
  const errors = checkSpec(expirationSeconds);
  if (errors.length > 0) throw invalid("authentication.k8s.io", "TokenRequest", "", errors);
  const wanted: string[] = audiences.length > 0 ? audiences : [...tokens.audiences];
  const subject: TokenSubject = {
    namespace, serviceAccount: { name, uid: account.metadata!.uid! },
    ...(boundObjectRef && bind(view, namespace, name, boundObjectRef)),
  };
  const { token, expires, id } = tokens.mint(subject, wanted, expirationSeconds);
  note?.("authentication.kubernetes.io/issued-credential-id", tokenCredential(id));
  return {
    kind: "TokenRequest", apiVersion: "authentication.k8s.io/v1",
    metadata: { name, namespace, creationTimestamp: timestamp(now()) },
    spec: { audiences: wanted, expirationSeconds, boundObjectRef: boundObjectRef ?? null },
    status: { token, expirationTimestamp: timestamp(new Date(expires * 1000)) },
  };
}

function checkNames({ metadata }: Obj, namespace: string, name: string): void {
  if (metadata?.name && metadata.name !== name) throw badRequest(`the name of the object (${metadata.name}) does not match the name on the URL (${name})`);
  if (metadata?.namespace && metadata.namespace !== namespace) {
    throw badRequest(`the namespace of the object (${metadata.namespace}) does not match the namespace on the URL (${namespace})`);
  }
}

function checkSpec(seconds: number): FieldError[] {
  const error = (why: string): FieldError[] => [{ type: "FieldValueInvalid", field: "spec.expirationSeconds", message: `Invalid value: ${seconds}: ${why}` }];
  if (seconds < MIN_SECONDS) return error("may not specify a duration less than 10 minutes");
  if (seconds > MAX_SECONDS) return error("may not specify a duration larger than 2^32 seconds");
  return [];
}

interface BoundRef {
  readonly kind?: string;
  readonly apiVersion?: string;
  readonly name?: string;
  readonly uid?: string;
}

const kinds: Readonly<Record<string, string>> = { Pod: "pods", Secret: "secrets", Node: "nodes" };

function bind(view: CacheView, namespace: string, account: string, ref: BoundRef): Partial<TokenSubject> {
  const { kind = "", apiVersion = "v1", name = "", uid } = ref;
  const plural = kinds[kind];
  if (!plural || apiVersion !== "v1") {
    throw badRequest(`cannot bind token to object of type ${apiVersion === "v1" ? "/v1" : apiVersion}, Kind=${kind}`);
  }
  const object = kind === "Node" ? view.get("", plural, name) : view.get("", plural, name, namespace);
  if (!object) throw notFound({ group: "", plural }, name);
  const found = { name, uid: object.metadata!.uid! };
  if (uid && uid !== found.uid) {
    throw conflict({ group: "", plural }, name, `the UID in the bound object reference (${uid}) does not match the UID in record. The object might have been deleted and then recreated`);
  }
  if (kind === "Secret") return { secret: found };
  if (kind === "Node") return { node: found };
  if (object.spec.serviceAccountName !== account) {
    throw badRequest(`cannot bind token for serviceaccount "${account}" to pod running with different serviceaccount name.`);
  }
  const node = object.spec.nodeName ? view.get("", "nodes", object.spec.nodeName) : undefined;
  return { pod: found, ...(node && { node: { name: node.metadata!.name!, uid: node.metadata!.uid! } }) };
}
