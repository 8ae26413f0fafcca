/** HelmChart and HelmChartConfig of helm.cattle.io/v1, and whose a HelmChart is. */
import { defineResource, type KubeClient, type ObjectMeta } from "@k3s-p/plugin-api/kube";

interface Named {
  readonly name?: string;
}

export interface ValuesSecret {
  readonly name?: string;
  readonly keys?: readonly string[];
  /** The Secret may be missing, and its changes upgrade nothing. */
  readonly ignoreUpdates?: boolean;
}

export type FailurePolicy = "abort" | "reinstall" | "retry";

/** What both kinds have. */
export interface Overrides {
  readonly values?: Readonly<Record<string, unknown>>;
  readonly valuesContent?: string;
  readonly valuesSecrets?: readonly ValuesSecret[];
  readonly failurePolicy?: FailurePolicy;
  readonly serverSide?: string;
}

export interface HelmChartSpec extends Overrides {
  readonly chart?: string;
  readonly chartContent?: string;
  readonly version?: string;
  readonly repo?: string;
  readonly repoCA?: string;
  readonly repoCAConfigMap?: Named;
  readonly authSecret?: Named;
  readonly authPassCredentials?: boolean;
  readonly dockerRegistrySecret?: Named;
  readonly insecureSkipTLSVerify?: boolean;
  readonly plainHTTP?: boolean;
  readonly targetNamespace?: string;
  readonly createNamespace?: boolean;
  readonly set?: Readonly<Record<string, string | number>>;
  readonly backOffLimit?: number;
  readonly timeout?: string;
  readonly takeOwnership?: boolean;
  readonly driver?: "secret" | "configmap";
  readonly helmVersion?: string;
}

/** K3s's conditions have no times. */
export interface ChartCondition {
  readonly type: string;
  readonly status: "True" | "False";
  readonly reason?: string;
  readonly message?: string;
}

export interface HelmChart {
  apiVersion?: string;
  kind?: string;
  metadata: ObjectMeta;
  spec?: HelmChartSpec;
  status?: { conditions?: ChartCondition[] };
}

export interface HelmChartConfig {
  apiVersion?: string;
  kind?: string;
  metadata: ObjectMeta;
  spec?: Overrides;
}

export const helmCharts = defineResource<HelmChart>("helm.cattle.io", "v1", "helmcharts", "HelmChart");
export const helmChartConfigs = defineResource<HelmChartConfig>("helm.cattle.io", "v1", "helmchartconfigs", "HelmChartConfig");

/** K3s's own, so that either can take over what the other has installed. */
export const FINALIZER = "wrangler.cattle.io/on-helm-chart-remove";
const UNMANAGED = "helmcharts.helm.cattle.io/unmanaged";
const MANAGED_BY = "helmcharts.cattle.io/managed-by";
const CONTROLLER = "helm-controller";

/** Others may have controllers of their own for the kind, and users may ask all to keep off. */
export function isManaged({ metadata, spec }: HelmChart): boolean {
  if (!spec?.chart && !spec?.chartContent) return false;
  const { [UNMANAGED]: unmanaged, [MANAGED_BY]: by = CONTROLLER } = metadata.annotations ?? {};
  return unmanaged === undefined && by === CONTROLLER;
}

/** What of a chart calls for another look; its status does not. */
export const isSame = (a: HelmChart, b: HelmChart): boolean =>
  a.metadata.generation === b.metadata.generation && a.metadata.deletionTimestamp === b.metadata.deletionTimestamp && isManaged(a) === isManaged(b);

/** Marks the chart as this controller's; it is not deleted before its release is. */
export async function claim(client: KubeClient, { metadata }: HelmChart): Promise<void> {
  const { name, namespace, annotations, finalizers = [], resourceVersion } = metadata;
  if (annotations?.[MANAGED_BY] && finalizers.includes(FINALIZER)) return;
  const patch = { metadata: { annotations: { [MANAGED_BY]: CONTROLLER }, finalizers: [...new Set([...finalizers, FINALIZER])], resourceVersion } };
  await client.patch(helmCharts, name!, patch, { namespace: namespace! });
}

/** Lets go of a chart that is being deleted. */
export async function unclaim(client: KubeClient, { metadata }: HelmChart): Promise<void> {
  const { name, namespace, finalizers = [], resourceVersion } = metadata;
  if (!finalizers.includes(FINALIZER)) return;
  const patch = { metadata: { finalizers: finalizers.filter((each) => each !== FINALIZER), resourceVersion } };
  await client.patch(helmCharts, name!, patch, { namespace: namespace! });
}
