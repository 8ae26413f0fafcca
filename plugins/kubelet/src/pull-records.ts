/**
 * Who may use an image that is here already (KEP-2535): what was pulled with a secret is for pods that have the
 * credentials, what came without one, or lay here before, is for all. Upstream's files below `image_manager`.
 */
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { replaceFileDurably } from "@k3s-p/plugin-api";
import type { KubeletOptions } from "./options.ts";
import { repositoryOf, type SecretSource } from "./pull-secrets.ts";

export interface PullRecords {
  /** Whether the image that is here may be used without asking its registry. */
  mayUse(image: string, id: string, credentials: () => Promise<readonly SecretSource[]>): Promise<boolean>;
  /** Before a pull: if this process ends on the way, the image does not pass for one that lay here before. */
  begin(image: string): Promise<void>;
  /** After a pull, with the secrets that hold the credentials; without any the image is for all. */
  pulled(image: string, id: string, secrets: readonly SecretSource[]): Promise<void>;
  failed(image: string): Promise<void>;
  /** Forgets images that are not there; `asOf` (Unix milliseconds) is when they were listed. */
  prune(ids: ReadonlySet<string>, asOf: number): Promise<void>;
}

export type VerificationPolicy = "NeverVerify" | "NeverVerifyPreloadedImages" | "NeverVerifyAllowlistedImages" | "AlwaysVerify";

interface Access {
  readonly nodePodsAccessible?: true;
  readonly kubernetesSecrets?: readonly SecretSource[];
}

interface PulledRecord {
  readonly kind: "ImagePulledRecord";
  readonly apiVersion: string;
  readonly lastUpdatedTime: string;
  readonly imageRef: string;
  /** By repository, without tag and digest. */
  readonly credentialMapping?: Readonly<Record<string, Access>>;
}

const API_VERSION = "kubelet.config.k8s.io/v1beta1";

type Options = Pick<KubeletOptions, "imagePullCredentialsVerificationPolicy" | "preloadedImagesVerificationAllowlist">;

/** `folder` = `/var/lib/kubelet/image_manager`. */
export function pullRecords(folder: string, options: Options, now: () => number): PullRecords {
  const nameOf = (text: string): string => `sha256-${createHash("sha256").update(text).digest("hex")}`;
  const intentFile = (image: string): string => join(folder, "pulling", nameOf(image));
  const recordFile = (id: string): string => join(folder, "pulled", nameOf(id));
  const pulling = new Map<string, number>();
  let writing: Promise<unknown> = Promise.resolve();

  /** One change at a time, as each begins with what the last one left. */
  function change(work: () => Promise<void>): Promise<void> {
    const next = writing.then(work);
    writing = next.catch(() => {});
    return next;
  }

  async function put(file: string, content: object): Promise<void> {
    await mkdir(join(folder, "pulling"), { recursive: true, mode: 0o700 });
    await mkdir(join(folder, "pulled"), { recursive: true, mode: 0o700 });
    await replaceFileDurably(file, JSON.stringify(content));
  }

  async function grant(image: string, id: string, access: Access): Promise<void> {
    const record = await read<PulledRecord>(recordFile(id));
    const repository = repositoryOf(image);
    const credentialMapping = { ...record?.credentialMapping, [repository]: joined(record?.credentialMapping?.[repository], access) };
    const content: PulledRecord = { kind: "ImagePulledRecord", apiVersion: API_VERSION, lastUpdatedTime: new Date(now()).toISOString(), imageRef: id, credentialMapping };
    await put(recordFile(id), content);
  }

  function end(image: string): boolean {
    const left = (pulling.get(image) ?? 1) - 1;
    if (left > 0) pulling.set(image, left);
    else pulling.delete(image);
    return left <= 0;
  }

  return {
    async mayUse(image, id, credentials) {
      const record = await read<PulledRecord>(recordFile(id));
      const wasPulled = record !== undefined || (await read(intentFile(image))) !== undefined;
      if (!mustVerify(options, image, wasPulled)) return true;
      const access = record?.credentialMapping?.[repositoryOf(image)];
      if (!access) return false;
      if (access.nodePodsAccessible) return true;
      const known = access.kubernetesSecrets ?? [];
      const fitting = (await credentials()).filter((own) => known.some((k) => isSameSecret(k, own) || k.credentialHash === own.credentialHash));
      const isNew = fitting.some((own) => !known.some((k) => isSameSecret(k, own) && k.credentialHash === own.credentialHash));
      if (isNew) await change(() => grant(image, id, { kubernetesSecrets: fitting }));
      return fitting.length > 0;
    },
    begin(image) {
      pulling.set(image, (pulling.get(image) ?? 0) + 1);
      return change(() => put(intentFile(image), { kind: "ImagePullIntent", apiVersion: API_VERSION, image }));
    },
    pulled: (image, id, secrets) => change(async () => {
      await grant(image, id, secrets.length ? { kubernetesSecrets: secrets } : { nodePodsAccessible: true });
      if (end(image)) await rm(intentFile(image), { force: true });
    }),
    failed: (image) => change(async () => {
      if (end(image)) await rm(intentFile(image), { force: true });
    }),
    prune: (ids, asOf) => change(async () => {
      for (const name of await readdir(join(folder, "pulled")).catch(() => [])) {
        const file = join(folder, "pulled", name);
        const record = await read<PulledRecord>(file);
        // One that cannot be read stays: without it its image would pass for one that lay here before.
        if (record && !ids.has(record.imageRef) && Date.parse(record.lastUpdatedTime) < asOf) await rm(file, { force: true });
      }
    }),
  };
}

/** A file that is not there, or not as it should be, says nothing: then the registry is asked. */
async function read<T = object>(file: string): Promise<T | undefined> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as T;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? undefined : ({} as T);
  }
}

const isSameSecret = (a: SecretSource, b: SecretSource): boolean => a.uid === b.uid && a.namespace === b.namespace && a.name === b.name;

/** What anybody may use stays so. */
function joined(before: Access | undefined, next: Access): Access {
  if (before?.nodePodsAccessible || next.nodePodsAccessible) return { nodePodsAccessible: true };
  const fresh = next.kubernetesSecrets ?? [];
  const kept = (before?.kubernetesSecrets ?? []).filter((old) => !fresh.some((secret) => isSameSecret(secret, old)));
  return { kubernetesSecrets: [...kept, ...fresh] };
}

function mustVerify({ imagePullCredentialsVerificationPolicy: policy, preloadedImagesVerificationAllowlist: allowed }: Options, image: string, wasPulled: boolean): boolean {
  if (policy === "NeverVerify") return false;
  if (policy === "AlwaysVerify" || wasPulled) return true;
  return policy === "NeverVerifyAllowlistedImages" && !allowed.some((pattern) => isListed(pattern, repositoryOf(image)));
}

/** `registry/path`, or all below it with a star at the end: `registry/path/*`. */
const isListed = (pattern: string, repository: string): boolean =>
  (pattern.endsWith("/*") ? repository.startsWith(pattern.slice(0, -1)) : repository === repositoryOf(pattern));
