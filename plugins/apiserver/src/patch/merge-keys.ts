/**
 * Upstream's list and map semantics, as a table: how strategic patches and server-side apply merge each field.
 *
 * One type a line (indented lines continue it), under `<package>/<version>`: the type's name, `!` when the type is
 * atomic, then its fields that matter. A field is `name[:Type][=rule]`; a Type of another package is written
 * `core/v1.PodSpec`. Fields and types that are not listed have the defaults: structs and maps merge, lists are atomic.
 *
 *     []map(a,b)   list keyed by a and b        +      strategic patches merge the list by its one key
 *     []set        list of unique scalars       +key   ... by this key
 *     {}           map of Type                  ~      as +, and the patch may retain keys ($retainKeys)
 *     !            atomic field                 *      strategic patches replace the struct
 */
export const mergeTable: Readonly<Record<string, string>> = {
  "admissionregistration/v1": `
MatchResources ! namespaceSelector:meta/v1.LabelSelector objectSelector:meta/v1.LabelSelector
MutatingAdmissionPolicy spec:MutatingAdmissionPolicySpec
MutatingAdmissionPolicyBinding spec:MutatingAdmissionPolicyBindingSpec
MutatingAdmissionPolicyBindingSpec matchResources:MatchResources paramRef:ParamRef
MutatingAdmissionPolicySpec matchConditions=[]map(name)+ matchConstraints:MatchResources
  paramKind:ParamKind
MutatingWebhook matchConditions=[]map(name)+ namespaceSelector:meta/v1.LabelSelector
  objectSelector:meta/v1.LabelSelector
MutatingWebhookConfiguration webhooks:MutatingWebhook=[]map(name)+
NamedRuleWithOperations !
ParamKind !
ParamRef ! selector:meta/v1.LabelSelector
ValidatingAdmissionPolicy spec:ValidatingAdmissionPolicySpec status:ValidatingAdmissionPolicyStatus
ValidatingAdmissionPolicyBinding spec:ValidatingAdmissionPolicyBindingSpec
ValidatingAdmissionPolicyBindingSpec matchResources:MatchResources paramRef:ParamRef
  validationActions=[]set
ValidatingAdmissionPolicySpec matchConditions=[]map(name)+ matchConstraints:MatchResources
  paramKind:ParamKind variables:Variable=[]map(name)+
ValidatingAdmissionPolicyStatus conditions=[]map(type)
ValidatingWebhook matchConditions=[]map(name)+ namespaceSelector:meta/v1.LabelSelector
  objectSelector:meta/v1.LabelSelector
ValidatingWebhookConfiguration webhooks:ValidatingWebhook=[]map(name)+
Variable !
`,
  "apiextensions/v1": `
CustomResourceDefinition spec:CustomResourceDefinitionSpec status:CustomResourceDefinitionStatus
CustomResourceDefinitionStatus conditions=[]map(type)
CustomResourceDefinitionVersion schema:CustomResourceValidation
CustomResourceValidation openAPIV3Schema:JSONSchemaProps
JSON !
JSONSchemaProps default:JSON definitions:JSONSchemaProps={} example:JSON not:JSONSchemaProps
  patternProperties:JSONSchemaProps={} properties:JSONSchemaProps={}
  x-kubernetes-validations=[]map(rule)+
`,
  "apiregistration/v1": `
APIService status:APIServiceStatus
APIServiceStatus conditions=[]map(type)+
`,
  "apps/v1": `
ControllerRevision data:runtime/v1.RawExtension
DaemonSet spec:DaemonSetSpec status:DaemonSetStatus
DaemonSetSpec selector:meta/v1.LabelSelector template:core/v1.PodTemplateSpec
DaemonSetStatus conditions=[]map(type)+
Deployment spec:DeploymentSpec status:DeploymentStatus
DeploymentSpec selector:meta/v1.LabelSelector strategy=~ template:core/v1.PodTemplateSpec
DeploymentStatus conditions=[]map(type)+
ReplicaSet spec:ReplicaSetSpec status:ReplicaSetStatus
ReplicaSetSpec selector:meta/v1.LabelSelector template:core/v1.PodTemplateSpec
ReplicaSetStatus conditions=[]map(type)+
StatefulSet spec:StatefulSetSpec status:StatefulSetStatus
StatefulSetSpec selector:meta/v1.LabelSelector template:core/v1.PodTemplateSpec
StatefulSetStatus conditions=[]map(type)+
`,
  "autoscaling/v1": `
CrossVersionObjectReference !
HorizontalPodAutoscaler spec:HorizontalPodAutoscalerSpec
HorizontalPodAutoscalerSpec scaleTargetRef:CrossVersionObjectReference
`,
  "autoscaling/v2": `
ExternalMetricSource metric:MetricIdentifier
ExternalMetricStatus metric:MetricIdentifier
HorizontalPodAutoscaler spec:HorizontalPodAutoscalerSpec status:HorizontalPodAutoscalerStatus
HorizontalPodAutoscalerStatus conditions=[]map(type)+
MetricIdentifier selector:meta/v1.LabelSelector
MetricSpec external:ExternalMetricSource object:ObjectMetricSource pods:PodsMetricSource
MetricStatus external:ExternalMetricStatus object:ObjectMetricStatus pods:PodsMetricStatus
ObjectMetricSource metric:MetricIdentifier
ObjectMetricStatus metric:MetricIdentifier
PodsMetricSource metric:MetricIdentifier
PodsMetricStatus metric:MetricIdentifier
`,
  "batch/v1": `
CronJob spec:CronJobSpec status:CronJobStatus
CronJobSpec jobTemplate:JobTemplateSpec
Job spec:JobSpec status:JobStatus
JobSpec podFailurePolicy:PodFailurePolicy selector:meta/v1.LabelSelector
  template:core/v1.PodTemplateSpec
JobStatus conditions=[]+type uncountedTerminatedPods:UncountedTerminatedPods
JobTemplateSpec spec:JobSpec
PodFailurePolicyOnExitCodesRequirement values=[]set
PodFailurePolicyRule onExitCodes:PodFailurePolicyOnExitCodesRequirement
UncountedTerminatedPods failed=[]set succeeded=[]set
`,
  "certificates/v1": `
CertificateSigningRequest status:CertificateSigningRequestStatus
CertificateSigningRequestStatus conditions=[]map(type)
`,
  "core/v1": `
Affinity nodeAffinity:NodeAffinity podAffinity:PodAffinity podAntiAffinity:PodAntiAffinity
Binding target:ObjectReference
CSIPersistentVolumeSource controllerExpandSecretRef:SecretReference
  controllerPublishSecretRef:SecretReference nodeExpandSecretRef:SecretReference
  nodePublishSecretRef:SecretReference nodeStageSecretRef:SecretReference
CSIVolumeSource nodePublishSecretRef:LocalObjectReference
CephFSPersistentVolumeSource secretRef:SecretReference
CephFSVolumeSource secretRef:LocalObjectReference
CinderPersistentVolumeSource secretRef:SecretReference
CinderVolumeSource secretRef:LocalObjectReference
ClusterTrustBundleProjection labelSelector:meta/v1.LabelSelector
ComponentStatus conditions=[]map(type)+
ConfigMapKeySelector !
Container env:EnvVar=[]map(name)+ ports=[]map(containerPort,protocol)+containerPort
  resources:ResourceRequirements volumeDevices=[]map(devicePath)+ volumeMounts=[]map(mountPath)+
ContainerRestartRule exitCodes:ContainerRestartRuleOnExitCodes
ContainerRestartRuleOnExitCodes values=[]set
ContainerStatus allocatedResourcesStatus:ResourceStatus=[]map(name)+ resources:ResourceRequirements
  volumeMounts=[]map(mountPath)+
DownwardAPIVolumeFile fieldRef:ObjectFieldSelector resourceFieldRef:ResourceFieldSelector
EndpointAddress ! targetRef:ObjectReference
EndpointPort !
EnvVar valueFrom:EnvVarSource
EnvVarSource configMapKeyRef:ConfigMapKeySelector fieldRef:ObjectFieldSelector
  fileKeyRef:FileKeySelector resourceFieldRef:ResourceFieldSelector secretKeyRef:SecretKeySelector
EphemeralContainer env:EnvVar=[]map(name)+ ports=[]map(containerPort,protocol)+containerPort
  resources:ResourceRequirements volumeDevices=[]map(devicePath)+ volumeMounts=[]map(mountPath)+
EphemeralVolumeSource volumeClaimTemplate:PersistentVolumeClaimTemplate
Event involvedObject:ObjectReference related:ObjectReference
FileKeySelector !
FlexPersistentVolumeSource secretRef:SecretReference
FlexVolumeSource secretRef:LocalObjectReference
ISCSIPersistentVolumeSource secretRef:SecretReference
ISCSIVolumeSource secretRef:LocalObjectReference
LocalObjectReference !
Namespace status:NamespaceStatus
NamespaceStatus conditions=[]map(type)+
Node spec:NodeSpec status:NodeStatus
NodeAffinity requiredDuringSchedulingIgnoredDuringExecution:NodeSelector
NodeAllocatableResourceClaimStatus containers=[]set
NodeSelector !
NodeSelectorTerm !
NodeSpec podCIDRs=[]set+
NodeStatus addresses=[]map(type)+ conditions=[]map(type)+
ObjectFieldSelector !
ObjectReference !
PersistentVolume spec:PersistentVolumeSpec
PersistentVolumeClaim spec:PersistentVolumeClaimSpec status:PersistentVolumeClaimStatus
PersistentVolumeClaimSpec dataSource:TypedLocalObjectReference selector:meta/v1.LabelSelector
PersistentVolumeClaimStatus conditions=[]map(type)+
PersistentVolumeClaimTemplate spec:PersistentVolumeClaimSpec
PersistentVolumeSpec cephfs:CephFSPersistentVolumeSource cinder:CinderPersistentVolumeSource
  csi:CSIPersistentVolumeSource flexVolume:FlexPersistentVolumeSource
  iscsi:ISCSIPersistentVolumeSource nodeAffinity:VolumeNodeAffinity rbd:RBDPersistentVolumeSource
  scaleIO:ScaleIOPersistentVolumeSource storageos:StorageOSPersistentVolumeSource
Pod spec:PodSpec status:PodStatus
PodAffinityTerm labelSelector:meta/v1.LabelSelector namespaceSelector:meta/v1.LabelSelector
PodSpec affinity:Affinity containers:Container=[]map(name)+
  ephemeralContainers:EphemeralContainer=[]map(name)+ hostAliases=[]map(ip)+
  imagePullSecrets:LocalObjectReference=[]map(name)+ initContainers:Container=[]map(name)+
  nodeSelector={}! resourceClaims=[]map(name)~ resources:ResourceRequirements
  schedulingGates=[]map(name)+
  topologySpreadConstraints:TopologySpreadConstraint=[]map(topologyKey,whenUnsatisfiable)+topologyKey
  volumes:Volume=[]map(name)~
PodStatus conditions=[]map(type)+ hostIPs=[]+ip podIPs=[]map(ip)+ resourceClaimStatuses=[]map(name)~
  resources:ResourceRequirements
PodTemplate template:PodTemplateSpec
PodTemplateSpec spec:PodSpec
PreferredSchedulingTerm preference:NodeSelectorTerm
RBDPersistentVolumeSource secretRef:SecretReference
RBDVolumeSource secretRef:LocalObjectReference
ReplicationController spec:ReplicationControllerSpec status:ReplicationControllerStatus
ReplicationControllerSpec selector={}! template:PodTemplateSpec
ReplicationControllerStatus conditions=[]map(type)+
ResourceFieldSelector !
ResourceQuota spec:ResourceQuotaSpec
ResourceQuotaSpec scopeSelector:ScopeSelector
ResourceRequirements claims=[]map(name)
ResourceStatus resources=[]map(resourceID)
ScaleIOPersistentVolumeSource secretRef:SecretReference
ScaleIOVolumeSource secretRef:LocalObjectReference
ScopeSelector !
SecretKeySelector !
SecretReference !
Service spec:ServiceSpec status:ServiceStatus
ServiceAccount secrets:ObjectReference=[]map(name)+
ServiceSpec ports=[]map(port,protocol)+port selector={}!
ServiceStatus conditions=[]map(type)+
StorageOSPersistentVolumeSource secretRef:ObjectReference
StorageOSVolumeSource secretRef:LocalObjectReference
TopologySelectorTerm !
TopologySpreadConstraint labelSelector:meta/v1.LabelSelector
TypedLocalObjectReference !
Volume cephfs:CephFSVolumeSource cinder:CinderVolumeSource csi:CSIVolumeSource
  downwardAPI:DownwardAPIVolumeSource ephemeral:EphemeralVolumeSource flexVolume:FlexVolumeSource
  iscsi:ISCSIVolumeSource projected:ProjectedVolumeSource rbd:RBDVolumeSource
  scaleIO:ScaleIOVolumeSource storageos:StorageOSVolumeSource
VolumeNodeAffinity required:NodeSelector
VolumeProjection clusterTrustBundle:ClusterTrustBundleProjection downwardAPI:DownwardAPIProjection
WeightedPodAffinityTerm podAffinityTerm:PodAffinityTerm
`,
  "discovery/v1": `
Endpoint addresses=[]set targetRef:core/v1.ObjectReference
EndpointPort !
`,
  "events/v1": `
Event regarding:core/v1.ObjectReference related:core/v1.ObjectReference
`,
  "flowcontrol/v1": `
FlowSchema spec:FlowSchemaSpec status:FlowSchemaStatus
FlowSchemaStatus conditions=[]map(type)+
NonResourcePolicyRule nonResourceURLs=[]set verbs=[]set
PriorityLevelConfiguration status:PriorityLevelConfigurationStatus
PriorityLevelConfigurationStatus conditions=[]map(type)+
ResourcePolicyRule apiGroups=[]set namespaces=[]set resources=[]set verbs=[]set
`,
  "meta/v1": `
FieldsV1 !
LabelSelector !
ManagedFieldsEntry fieldsV1:FieldsV1
ObjectMeta finalizers=[]set+ ownerReferences:OwnerReference=[]map(uid)+
OwnerReference !
WatchEvent object:runtime/v1.RawExtension
`,
  "networking/v1": `
HTTPIngressPath backend:IngressBackend
Ingress spec:IngressSpec
IngressBackend resource:core/v1.TypedLocalObjectReference service:IngressServiceBackend
IngressRule http:HTTPIngressRuleValue
IngressServiceBackend port:ServiceBackendPort
IngressSpec defaultBackend:IngressBackend
NetworkPolicy spec:NetworkPolicySpec
NetworkPolicyPeer namespaceSelector:meta/v1.LabelSelector podSelector:meta/v1.LabelSelector
NetworkPolicySpec podSelector:meta/v1.LabelSelector
ServiceBackendPort !
ServiceCIDR status:ServiceCIDRStatus
ServiceCIDRStatus conditions=[]map(type)+
`,
  "node/v1": `
RuntimeClass scheduling:Scheduling
Scheduling nodeSelector={}!
`,
  "runtime/v1": `
RawExtension !
`,
  "policy/v1": `
PodDisruptionBudget spec:PodDisruptionBudgetSpec status:PodDisruptionBudgetStatus
PodDisruptionBudgetSpec selector:meta/v1.LabelSelector=*
PodDisruptionBudgetStatus conditions=[]map(type)+
`,
  "rbac/v1": `
ClusterRole aggregationRule:AggregationRule
ClusterRoleBinding roleRef:RoleRef
RoleBinding roleRef:RoleRef
RoleRef !
Subject !
`,
  "resource/v1": `
AllocatedDeviceStatus conditions=[]map(type) data:runtime/v1.RawExtension
AllocationResult devices:DeviceAllocationResult nodeSelector:core/v1.NodeSelector
Device nodeSelector:core/v1.NodeSelector
DeviceAllocationConfiguration opaque:OpaqueDeviceConfiguration
DeviceClaimConfiguration opaque:OpaqueDeviceConfiguration
DeviceClass spec:DeviceClassSpec
DeviceClassConfiguration opaque:OpaqueDeviceConfiguration
OpaqueDeviceConfiguration parameters:runtime/v1.RawExtension
ResourceClaim spec:ResourceClaimSpec status:ResourceClaimStatus
ResourceClaimSpec devices:DeviceClaim
ResourceClaimStatus allocation:AllocationResult
  devices:AllocatedDeviceStatus=[]map(driver,device,pool,shareID) reservedFor=[]map(uid)+
ResourceClaimTemplate spec:ResourceClaimTemplateSpec
ResourceClaimTemplateSpec spec:ResourceClaimSpec
ResourceSlice spec:ResourceSliceSpec
ResourceSliceSpec nodeSelector:core/v1.NodeSelector
`,
  "storage/v1": `
CSIDriver spec:CSIDriverSpec
CSIDriverSpec volumeLifecycleModes=[]set
CSINode spec:CSINodeSpec
CSINodeSpec drivers=[]map(name)+
CSIStorageCapacity nodeTopology:meta/v1.LabelSelector
VolumeAttachment spec:VolumeAttachmentSpec
VolumeAttachmentSource inlineVolumeSpec:core/v1.PersistentVolumeSpec
VolumeAttachmentSpec source:VolumeAttachmentSource
`,
};
