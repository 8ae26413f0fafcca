/** Bootstrap tokens: Secrets in kube-system with which machines join, each good until it expires or is deleted. */
import { timingSafeEqual } from "node:crypto";
import { bootstrapTokenPattern } from "@k3s-p/plugin-api";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { CacheView, Obj } from "../resources/types.ts";

const TYPE = "bootstrap.kubernetes.io/token";
const BOOTSTRAPPERS = "system:bootstrappers";
const groupPattern = /^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$/;

/** The user of a token as upstream names it; undefined when it is none, or not one for authentication. */
export function bootstrapUser(view: CacheView, token: string, now: number): UserInfo | undefined {
  const [, id, secret] = bootstrapTokenPattern.exec(token) ?? [];
  if (!id || !secret) return undefined;
  const stored = view.get("", "secrets", `bootstrap-token-${id}`, "kube-system");
  if (!stored || stored.type !== TYPE || stored.metadata?.deletionTimestamp) return undefined;
  const field = fieldsOf(stored);
  if (field("token-id") !== id || !sameText(field("token-secret"), secret)) return undefined;
  if (field("usage-bootstrap-authentication") !== "true" || isExpired(field("expiration"), now)) return undefined;
  const groups = field("auth-extra-groups").split(",").filter(Boolean);
  if (!groups.every((group) => groupPattern.test(group))) return undefined;
  return { name: `system:bootstrap:${id}`, groups: [...new Set([...groups, BOOTSTRAPPERS])].sort().concat("system:authenticated") };
}

const fieldsOf = ({ data }: Obj) => (name: string): string => Buffer.from(data?.[name] ?? "", "base64").toString();

/** A date that cannot be read has passed. */
const isExpired = (date: string, now: number): boolean => date !== "" && !(Date.parse(date) > now);

const sameText = (a: string, b: string): boolean => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
