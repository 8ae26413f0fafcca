/** ImagePolicyWebhook: a backend outside decides which images may run (https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#imagepolicywebhook). */
import { setTimeout as delay } from "node:timers/promises";
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { Obj } from "../resources/types.ts";
import type { ClientConfig, WebhookClient } from "../webhook/client.ts";
import { type AdmissionDeps, refuse, toPlugin } from "./common.ts";

export interface ImagePolicy {
  readonly backend: ClientConfig;
  /** Seconds for which an answer counts. */
  readonly allowTtl: number;
  readonly denyTtl: number;
  /** Milliseconds before the next try, which doubles. */
  readonly retryBackoff: number;
  /** What a backend that cannot be asked means. */
  readonly defaultAllow: boolean;
}

interface Answer {
  readonly allowed: boolean;
  readonly reason: string;
  readonly auditAnnotations: Readonly<Record<string, string>>;
}

const TRIES = 5;
const TIMEOUT = 30;
const MAX_ANSWERS = 1024;
const PREFIX = "imagepolicywebhook.image-policy.k8s.io/";
const FAILED_OPEN = "alpha.image-policy.k8s.io/failed-open";

export function imagePolicyWebhook({ now, sleep = delay }: Pick<AdmissionDeps, "now" | "sleep">, policy: ImagePolicy, client: WebhookClient): AdmissionPlugin {
  const answers = new Map<string, Answer & { readonly until: number }>();

  async function ask(spec: object): Promise<Answer> {
    const key = JSON.stringify(spec);
    const known = answers.get(key);
    if (known && known.until > now().getTime()) return known;
    const review = JSON.stringify({ apiVersion: "imagepolicy.k8s.io/v1alpha1", kind: "ImageReview", metadata: {}, spec });
    const { status } = (await repeated(() => client.post(policy.backend, review, TIMEOUT))) as { status?: Partial<Answer> };
    if (typeof status?.allowed !== "boolean") throw new Error("the answer of the image policy webhook has no status.allowed");
    const answer: Answer = { allowed: status.allowed, reason: status.reason ?? "", auditAnnotations: status.auditAnnotations ?? {} };
    if (answers.size >= MAX_ANSWERS) answers.delete(answers.keys().next().value!);
    answers.set(key, { ...answer, until: now().getTime() + (answer.allowed ? policy.allowTtl : policy.denyTtl) * 1000 });
    return answer;
  }

  async function repeated(run: () => Promise<unknown>): Promise<unknown> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await run();
      } catch (error) {
        if (attempt === TRIES) throw error;
        await sleep(policy.retryBackoff * 2 ** (attempt - 1));
      }
    }
  }

  return toPlugin({
    name: "ImagePolicyWebhook", resources: ["pods"], operations: ["CREATE", "UPDATE"], subresources: ["", "ephemeralcontainers"],
    async validate(pod, request) {
      if (request.operation === "UPDATE" && JSON.stringify(imagesOf(pod)) === JSON.stringify(imagesOf(request.oldObject as Obj))) return;
      let answer: Answer;
      try {
        answer = await ask(reviewOf(pod, request));
      } catch (error) {
        if (!policy.defaultAllow) throw refuse(request, (error as Error).message);
        return request.annotate?.(PREFIX + FAILED_OPEN, "true");
      }
      for (const [key, value] of Object.entries(answer.auditAnnotations)) request.annotate?.(PREFIX + key, value);
      if (answer.allowed) return;
      throw refuse(request, answer.reason ? `image policy webhook backend denied one or more images: ${answer.reason}` : "one or more images rejected by webhook backend");
    },
  });
}

const imagesOf = ({ spec }: Obj): string[] =>
  ["containers", "initContainers", "ephemeralContainers"].flatMap((list) => ((spec[list] ?? []) as Obj[]).map((container) => container["image"] as string));

function reviewOf(pod: Obj, { namespace }: AdmissionRequest): object {
  const annotations = Object.entries(pod.metadata?.annotations ?? {}).filter(([key]) => key.includes(".image-policy.k8s.io/"));
  return {
    containers: imagesOf(pod).map((image) => ({ image })), namespace,
    ...(annotations.length > 0 && { annotations: Object.fromEntries(annotations) }),
  };
}
