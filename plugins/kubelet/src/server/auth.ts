/** Who may talk to the kubelet: the API server and administrators by certificate, others as the cluster's RBAC says. */
import type { TLSSocket } from "node:tls";
import type { IncomingMessage } from "node:http";
import type { KubeClient } from "@k3s-p/plugin-api/kube";
import type { Clock } from "../clock.ts";

export type AuthResult =
  | { readonly ok: true }
  | { readonly ok: false; readonly status: 401 | 403; readonly message: string };

interface Identity {
  readonly name: string;
  readonly groups: readonly string[];
}

const DECISION_LIFE = 10_000;
const API_SERVERS = new Set(["kube-apiserver", "system:kube-apiserver"]);

export function authorizer(kube: KubeClient, nodeName: string, clock: Clock): (req: IncomingMessage) => Promise<AuthResult> {
  const decisions = new Map<string, { until: number; result: AuthResult }>();

  async function decide(identity: Identity, verb: string, subresource: string): Promise<AuthResult> {
    const { body } = await kube.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {
      apiVersion: "authorization.k8s.io/v1", kind: "SubjectAccessReview",
      spec: {
        user: identity.name, groups: identity.groups,
        resourceAttributes: { verb, version: "v1", resource: "nodes", subresource, name: nodeName },
      },
    });
    if ((body as Review).status?.allowed) return { ok: true };
    const message = `Forbidden (user=${identity.name}, verb=${verb}, resource=nodes, subresource=[${subresource}])`;
    return { ok: false, status: 403, message };
  }

  return async (req) => {
    const identity = certificateIdentity(req.socket as TLSSocket) ?? (await tokenIdentity(kube, req));
    if (!identity) return { ok: false, status: 401, message: "Unauthorized" };
    if (identity.groups.includes("system:masters") || API_SERVERS.has(identity.name)) return { ok: true };
    const verb = req.method === "GET" || req.method === "HEAD" ? "get" : "create";
    const subresource = subresourceOf(req.url ?? "/");
    const key = JSON.stringify([identity, verb, subresource]);
    const known = decisions.get(key);
    if (known && known.until > clock.now()) return known.result;
    const result = await decide(identity, verb, subresource);
    if (decisions.size > 1000) decisions.clear();
    decisions.set(key, { until: clock.now() + DECISION_LIFE, result });
    return result;
  };
}

interface Review {
  readonly status?: {
    readonly allowed?: boolean;
    readonly authenticated?: boolean;
    readonly user?: { readonly username?: string; readonly groups?: readonly string[] };
  };
}

function certificateIdentity(socket: TLSSocket): Identity | undefined {
  if (!socket.authorized) return undefined;
  const { subject } = socket.getPeerCertificate();
  if (!subject?.CN) return undefined;
  const groups = subject.O === undefined ? [] : ([] as string[]).concat(subject.O);
  return { name: ([] as string[]).concat(subject.CN)[0]!, groups };
}

async function tokenIdentity(kube: KubeClient, req: IncomingMessage): Promise<Identity | undefined> {
  const token = /^Bearer\s+(\S+)$/i.exec(req.headers.authorization ?? "")?.[1];
  if (!token) return undefined;
  const { body } = await kube.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {
    apiVersion: "authentication.k8s.io/v1", kind: "TokenReview", spec: { token },
  });
  const { authenticated, user } = (body as Review).status ?? {};
  return authenticated && user?.username ? { name: user.username, groups: user.groups ?? [] } : undefined;
}

/** As upstream's NodeAuthorizerAttributesGetter: stats, metrics, logs and the rest as `proxy`. */
function subresourceOf(url: string): string {
  const first = url.split("?")[0]!.split("/")[1];
  return first === "stats" || first === "metrics" ? first : first === "logs" ? "log" : "proxy";
}
