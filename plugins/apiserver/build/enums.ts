/** The values of fields that upstream's types enumerate: `kubectl explain` lists them. A `-` stands for the empty text. */
const byPackage: Readonly<Record<string, string>> = {
  "admissionregistration/v1": `
MutatingWebhook.failurePolicy ValidatingWebhook.failurePolicy ValidatingAdmissionPolicySpec.failurePolicy MutatingAdmissionPolicySpec.failurePolicy = Fail Ignore
MutatingWebhook.matchPolicy ValidatingWebhook.matchPolicy MatchResources.matchPolicy = Equivalent Exact
MutatingWebhook.reinvocationPolicy MutatingAdmissionPolicySpec.reinvocationPolicy = IfNeeded Never
MutatingWebhook.sideEffects ValidatingWebhook.sideEffects = None NoneOnDryRun Some Unknown
RuleWithOperations.scope NamedRuleWithOperations.scope = * Cluster Namespaced`,
  "apps/v1": `
DaemonSetUpdateStrategy.type StatefulSetUpdateStrategy.type = OnDelete RollingUpdate
DeploymentStrategy.type = Recreate RollingUpdate
StatefulSetSpec.podManagementPolicy = OrderedReady Parallel`,
  "batch/v1": `
CronJobSpec.concurrencyPolicy = Allow Forbid Replace
JobSpec.completionMode = Indexed NonIndexed
JobSpec.podReplacementPolicy = Failed TerminatingOrFailed
PodFailurePolicyOnExitCodesRequirement.operator = In NotIn
PodFailurePolicyRule.action = Count FailIndex FailJob Ignore`,
  "core/v1": `
AppArmorProfile.type SeccompProfile.type = Localhost RuntimeDefault Unconfined
Container.imagePullPolicy EphemeralContainer.imagePullPolicy ImageVolumeSource.pullPolicy = Always IfNotPresent Never
Container.terminationMessagePolicy EphemeralContainer.terminationMessagePolicy = FallbackToLogsOnError File
ContainerPort.protocol EndpointPort.protocol ServicePort.protocol = SCTP TCP UDP
HTTPGetAction.scheme = HTTP HTTPS
HostPathVolumeSource.type = - BlockDevice CharDevice Directory DirectoryOrCreate File FileOrCreate Socket
NamespaceStatus.phase = Active Terminating
NodeSelectorRequirement.operator = DoesNotExist Exists Gt In Lt NotIn
PersistentVolumeClaimSpec.volumeMode PersistentVolumeSpec.volumeMode = Block Filesystem
PersistentVolumeClaimStatus.phase = Bound Lost Pending
PersistentVolumeSpec.persistentVolumeReclaimPolicy = Delete Recycle Retain
PersistentVolumeStatus.phase = Available Bound Failed Pending Released
PodSecurityContext.fsGroupChangePolicy = Always OnRootMismatch
PodSecurityContext.supplementalGroupsPolicy = Merge Strict
PodSpec.dnsPolicy = ClusterFirst ClusterFirstWithHostNet Default None
PodSpec.preemptionPolicy = Never PreemptLowerPriority
PodSpec.restartPolicy = Always Never OnFailure
PodStatus.phase = Failed Pending Running Succeeded Unknown
PodStatus.qosClass = BestEffort Burstable Guaranteed
ScopedResourceSelectorRequirement.operator = DoesNotExist Exists In NotIn
SecurityContext.procMount = Default Unmasked
ServiceSpec.externalTrafficPolicy ServiceSpec.internalTrafficPolicy = Cluster Local
ServiceSpec.ipFamilyPolicy = PreferDualStack RequireDualStack SingleStack
ServiceSpec.sessionAffinity = ClientIP None
ServiceSpec.type = ClusterIP ExternalName LoadBalancer NodePort
Taint.effect Toleration.effect = NoExecute NoSchedule PreferNoSchedule
TopologySpreadConstraint.nodeAffinityPolicy TopologySpreadConstraint.nodeTaintsPolicy = Honor Ignore
TopologySpreadConstraint.whenUnsatisfiable = DoNotSchedule ScheduleAnyway
VolumeMount.mountPropagation = Bidirectional HostToContainer None`,
  "discovery/v1": "EndpointSlice.addressType = FQDN IPv4 IPv6",
  "networking/v1": `
HTTPIngressPath.pathType = Exact ImplementationSpecific Prefix
NetworkPolicyPort.protocol = SCTP TCP UDP`,
  "scheduling/v1": "PriorityClass.preemptionPolicy = Never PreemptLowerPriority",
  "storage/v1": `
StorageClass.reclaimPolicy = Delete Recycle Retain
StorageClass.volumeBindingMode = Immediate WaitForFirstConsumer`,
};

/** By `core/v1.PodSpec.restartPolicy`. */
export const enums: ReadonlyMap<string, readonly string[]> = new Map(Object.entries(byPackage).flatMap(([pkg, text]) =>
  text.trim().split("\n").flatMap((line) => {
    const [fields = "", values = ""] = line.split(" = ");
    return fields.split(" ").map((field): [string, string[]] => [`${pkg}.${field}`, values.split(" ").map((value) => (value === "-" ? "" : value))]);
  })));
