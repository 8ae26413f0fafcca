/** Makes sure that a container's image is here: pull policy, pull secrets, back-off and their events. */
import { join } from "node:path";
import { messageOf } from "@k3s-p/plugin-api";
import type { Image, ImageAuth, PodSandboxConfig, Runtime } from "@k3s-p/plugin-api/slots";
import type { Pod, Secret } from "@k3s-p/plugin-api/kube";
import { backoff, goDuration } from "./backoff.ts";
import type { Clock } from "./clock.ts";
import { podEvent, type KubeletContext } from "./context.ts";
import { pullRecords, type PullRecords } from "./pull-records.ts";
import { pullAuths, type SecretSource } from "./pull-secrets.ts";

export type ImageResult =
  | { readonly ok: true; readonly image: Image }
  | { readonly ok: false; readonly reason: string; readonly message: string; readonly retryAt: number | undefined };

/** Who wants which image: a container, or a volume. */
export interface Wanted {
  readonly spec: { readonly image?: string; readonly imagePullPolicy?: string };
  readonly fieldPath?: string;
}

export interface Images {
  ensure(pod: Pod, ref: Wanted, sandbox?: PodSandboxConfig): Promise<ImageResult>;
  /** The same for a volume that shows an image. */
  ensureVolume(pod: Pod, name: string, source: { readonly reference?: string; readonly pullPolicy?: string }): Promise<ImageResult>;
  forget(uid: string): void;
  /** These images are here, and were at that time (Unix milliseconds). */
  present(ids: ReadonlySet<string>, asOf: number): Promise<void>;
}

/** Below `/var/lib/kubelet`, as upstream. */
export const recordsOf = ({ node, options, clock }: Pick<KubeletContext, "node" | "options" | "clock">): PullRecords =>
  pullRecords(join(node.paths.kubelet, "image_manager"), options, clock.now);

interface ImagesContext extends Pick<KubeletContext, "events" | "figures"> {
  readonly runtime: Runtime;
  readonly clock: Clock;
  readonly records: PullRecords;
  secret(namespace: string, name: string): Promise<Secret | undefined>;
  /** Called after a pull, so that the node's list of images is made anew. */
  pulled(): void;
}

export function images(ctx: ImagesContext): Images {
  const pullBackoff = backoff(ctx.clock);
  const failures = new Map<string, { at: number; message: string }>();
  const pulling = new Map<string, Promise<string>>();

  /** Pods that want the same image with the same credentials share one pull. */
  function pullOnce(image: string, auth: ImageAuth | undefined, sandbox: PodSandboxConfig | undefined): Promise<string> {
    const key = JSON.stringify([image, auth]);
    const running = pulling.get(key) ?? ctx.runtime.pullImage(image, auth, sandbox).finally(() => pulling.delete(key));
    pulling.set(key, running);
    return running;
  }

  async function pull(pod: Pod, ref: Wanted, image: string, sandbox: PodSandboxConfig | undefined): Promise<ImageResult> {
    const event = (type: "Normal" | "Warning", reason: string, message: string): void =>
      podEvent(ctx, pod, type, reason, message, ref.fieldPath);
    const key = `${pod.metadata.uid}/${image}`;
    const failed = failures.get(key);
    const until = failed && pullBackoff.waitUntil(key, failed.at);
    if (failed && until !== undefined) {
      event("Normal", "BackOff", `Back-off pulling image "${ref.spec.image}"`);
      event("Warning", "Failed", "Error: ImagePullBackOff");
      const message = `Back-off pulling image "${ref.spec.image}": ErrImagePull: ${failed.message}`;
      return { ok: false, reason: "ImagePullBackOff", message, retryAt: until };
    }
    event("Normal", "Pulling", `Pulling image "${ref.spec.image}"`);
    const started = ctx.clock.now();
    try {
      const found = await recordedPull(pod, image, sandbox);
      const took = goDuration(ctx.clock.now() - started);
      event("Normal", "Pulled", `Successfully pulled image "${ref.spec.image}" in ${took} (${took} including waiting). Image size: ${found.size} bytes.`);
      failures.delete(key);
      ctx.figures.pulled(found.size, (ctx.clock.now() - started) / 1000);
      ctx.pulled();
      return { ok: true, image: found };
    } catch (error) {
      const message = messageOf(error);
      event("Warning", "Failed", `Failed to pull image "${ref.spec.image}": ${message}`);
      event("Warning", "Failed", "Error: ErrImagePull");
      pullBackoff.next(key, ctx.clock.now());
      failures.set(key, { at: ctx.clock.now(), message });
      return { ok: false, reason: "ErrImagePull", message, retryAt: ctx.clock.now() + 1000 };
    }
  }

  async function recordedPull(pod: Pod, image: string, sandbox: PodSandboxConfig | undefined): Promise<Image> {
    await ctx.records.begin(image);
    try {
      const secrets = await pullWithSecrets(pod, image, sandbox);
      const found = await ctx.runtime.imageStatus(image);
      if (!found) throw new Error(`image "${image}" is not there after the pull`);
      await ctx.records.pulled(image, found.id, secrets);
      return found;
    } catch (error) {
      await ctx.records.failed(image);
      throw error;
    }
  }

  /** Returns the secrets whose credentials the registry took. */
  async function pullWithSecrets(pod: Pod, image: string, sandbox: PodSandboxConfig | undefined): Promise<readonly SecretSource[]> {
    const { auths, missing } = await pullAuths(pod, image, ctx.secret);
    if (missing.length) {
      const message = `Unable to retrieve some image pull secrets (${missing.join(", ")}); attempting to pull the image may not succeed.`;
      podEvent(ctx, pod, "Warning", "FailedToRetrieveImagePullSecret", message);
    }
    const failed = new Set<string>();
    for (const { auth, secrets } of auths.length ? auths : [{ auth: undefined, secrets: [] }]) {
      try {
        await pullOnce(image, auth, sandbox);
        return secrets;
      } catch (error) {
        failed.add(pullMessage(error));
      }
    }
    throw new Error(failed.size === 1 ? [...failed][0] : `[${[...failed].join(", ")}]`);
  }

  const self: Images = {
    ensureVolume: (pod, name, { reference, pullPolicy }) => self.ensure(pod, {
      spec: { ...(reference && { image: reference }), ...(pullPolicy && { imagePullPolicy: pullPolicy }) }, fieldPath: `spec.volumes{${name}}`,
    }),
    async ensure(pod, ref, sandbox) {
      const wanted = ref.spec.image ?? "";
      const image = withDefaultTag(wanted);
      if (image === undefined) {
        const message = `Failed to apply default image tag "${wanted}": couldn't parse image name "${wanted}": invalid reference format`;
        podEvent(ctx, pod, "Warning", "InspectFailed", message, ref.fieldPath);
        podEvent(ctx, pod, "Warning", "Failed", "Error: InvalidImageName", ref.fieldPath);
        return { ok: false, reason: "InvalidImageName", message, retryAt: undefined };
      }
      const present = await ctx.runtime.imageStatus(image);
      const policy = ref.spec.imagePullPolicy ?? (image.endsWith(":latest") ? "Always" : "IfNotPresent");
      const credentials = async () => (await pullAuths(pod, image, ctx.secret)).auths.flatMap(({ secrets }) => secrets);
      if (present && policy !== "Always" && await ctx.records.mayUse(image, present.id, credentials)) {
        podEvent(ctx, pod, "Normal", "Pulled", `Container image "${wanted}" already present on machine and can be accessed by the pod`, ref.fieldPath);
        return { ok: true, image: present };
      }
      if (policy !== "Never") return pull(pod, ref, image, sandbox);
      const message = `Container image "${wanted}" is not present with pull policy of Never`;
      podEvent(ctx, pod, "Warning", "ErrImageNeverPull", message, ref.fieldPath);
      podEvent(ctx, pod, "Warning", "Failed", "Error: ErrImageNeverPull", ref.fieldPath);
      return { ok: false, reason: "ErrImageNeverPull", message, retryAt: undefined };
    },
    present: ctx.records.prune,
    forget(uid) {
      pullBackoff.forget(`${uid}/`);
      for (const key of failures.keys()) if (key.startsWith(`${uid}/`)) failures.delete(key);
    },
  };
  return self;
}

const grpcCodes = [
  "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied", "ResourceExhausted",
  "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
];

/** With the runtime's code before its words as upstream has it, which leaves out `Unknown`. */
function pullMessage(error: unknown): string {
  const { code } = error as { readonly code?: unknown };
  const name = typeof code === "number" ? grpcCodes[code] : undefined;
  return name && name !== "Unknown" ? `rpc error: code = ${name} desc = ${messageOf(error)}` : messageOf(error);
}

const component = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
const domain = "(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\\[[0-9a-fA-F:]+\\])(?::\\d+)?";
const reference = new RegExp(
  `^(?:${domain}/)?${component}(?:/${component})*(:[\\w][\\w.-]{0,127})?(@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?$`,
);

/** The reference with `:latest` when it has neither tag nor digest; undefined when it is not a reference. */
export function withDefaultTag(image: string): string | undefined {
  const match = reference.exec(image);
  if (!match) return undefined;
  return match[1] || match[2] ? image : `${image}:latest`;
}
