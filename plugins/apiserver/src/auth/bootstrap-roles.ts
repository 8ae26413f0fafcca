/**
 * Upstream's bootstrap RBAC objects as data, and what K3s adds.
 *
 * A rule is `VERBS GROUPS:RESOURCES [=NAMES]` (an empty group is the core one) or `VERBS /URL,/URL`; `R` stands for
 * get,list,watch, `W` for all writes, `RW` for both. `EVENTS` is the right to record Events.
 */
import type { Obj } from "../resources/types.ts";

const verbSets: Readonly<Record<string, string>> = {
  R: "get,list,watch",
  W: "create,delete,deletecollection,patch,update",
  RW: "create,delete,deletecollection,get,list,patch,update,watch",
};
const EVENTS = "create,patch,update ,events.k8s.io:events";
const RBAC = "rbac.authorization.k8s.io";
const SIGNERS = "approve certificates.k8s.io:signers =kubernetes.io/";

const clusterRoles: Readonly<Record<string, readonly string[]>> = {
  "cluster-admin": ["* *:*", "* *"],
  "system:discovery": ["get /api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/"],
  "system:monitoring": ["get /healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*"],
  "system:basic-user": [
    "create authorization.k8s.io:selfsubjectaccessreviews,selfsubjectrulesreviews",
    "create authentication.k8s.io:selfsubjectreviews",
  ],
  "system:public-info-viewer": ["get /healthz,/livez,/readyz,/version,/version/"],
  "system:aggregate-to-admin": [
    "create authorization.k8s.io:localsubjectaccessreviews", "RW rbac.authorization.k8s.io:rolebindings,roles",
  ],
  "system:aggregate-to-edit": [
    "R :pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy", "impersonate :serviceaccounts",
    "W :pods,pods/attach,pods/exec,pods/portforward,pods/proxy", "create :pods/eviction",
    "W :configmaps,events,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy",
    "create :serviceaccounts/token",
    "W apps:daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale",
    "W autoscaling:horizontalpodautoscalers", "W batch:cronjobs,jobs",
    "W extensions:daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale",
    "W policy:poddisruptionbudgets", "W networking.k8s.io:ingresses,networkpolicies",
    "RW coordination.k8s.io:leases", "W resource.k8s.io:resourceclaims,resourceclaimtemplates",
  ],
  "system:aggregate-to-view": [
    "R :configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status",
    "R :bindings,events,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status",
    "R :namespaces", "R discovery.k8s.io:endpointslices",
    "R apps:controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status",
    "R autoscaling:horizontalpodautoscalers,horizontalpodautoscalers/status", "R batch:cronjobs,cronjobs/status,jobs,jobs/status",
    "R extensions:daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale,replicasets/status,replicationcontrollers/scale",
    "R policy:poddisruptionbudgets,poddisruptionbudgets/status",
    "R networking.k8s.io:ingresses,ingresses/status,networkpolicies",
    "R resource.k8s.io:resourceclaims,resourceclaims/status,resourceclaimtemplates",
  ],
  "system:heapster": ["R :events,namespaces,nodes,pods", "R extensions:deployments", "get,update,create :nodes/stats"],
  "system:node": [
    "create authentication.k8s.io:tokenreviews", "create authorization.k8s.io:localsubjectaccessreviews,subjectaccessreviews",
    "R :services", "create,get,list,watch :nodes", "patch,update :nodes/status", "patch,update :nodes",
    "create,patch,update :events", "R :pods", "create,delete :pods", "patch,update :pods/status",
    "create :pods/eviction", "R :configmaps,secrets", "get :persistentvolumeclaims,persistentvolumes",
    "get :endpoints", "R certificates.k8s.io:certificatesigningrequests", "create certificates.k8s.io:certificatesigningrequests",
    "RW coordination.k8s.io:leases", "R storage.k8s.io:volumeattachments", "create :serviceaccounts/token",
    "get,patch,update :persistentvolumeclaims/status", "R storage.k8s.io:csidrivers", "RW storage.k8s.io:csinodes",
    "R node.k8s.io:runtimeclasses", "get resource.k8s.io:resourceclaims", "RW resource.k8s.io:resourceslices",
  ],
  "system:node-problem-detector": ["get :nodes", "patch :nodes/status", EVENTS],
  "system:node-proxier": [
    "list,watch :endpoints,services", "R :nodes", EVENTS, "list,watch discovery.k8s.io:endpointslices",
    "list,watch networking.k8s.io:servicecidrs",
  ],
  "system:kubelet-api-admin": [
    "R :nodes", "proxy :nodes",
    "* :nodes/configz,nodes/healthz,nodes/log,nodes/metrics,nodes/pods,nodes/proxy,nodes/stats",
  ],
  "system:node-bootstrapper": ["create,get,list,watch certificates.k8s.io:certificatesigningrequests"],
  "system:auth-delegator": ["create authentication.k8s.io:tokenreviews", "create authorization.k8s.io:subjectaccessreviews"],
  "system:kube-aggregator": ["R :endpoints,services"],
  "system:kube-controller-manager": [
    EVENTS, "create coordination.k8s.io:leases", "get,update coordination.k8s.io:leases =kube-controller-manager",
    "create :secrets,serviceaccounts", "delete :secrets", "get :configmaps,namespaces,secrets,serviceaccounts",
    "update :secrets,serviceaccounts", "create authentication.k8s.io:tokenreviews",
    "create authorization.k8s.io:subjectaccessreviews", "list,watch *:*", "create :serviceaccounts/token",
  ],
  "system:kube-dns": ["list,watch :endpoints,services"],
  "system:kube-scheduler": [
    EVENTS, "create coordination.k8s.io:leases", "get,list,update,watch coordination.k8s.io:leases =kube-scheduler",
    "create coordination.k8s.io:leasecandidates", "R :nodes", "delete,get,list,watch :pods", "create :bindings,pods/binding",
    "patch,update :pods/status", "R :replicationcontrollers,services", "R apps,extensions:replicasets", "R apps:statefulsets",
    "R policy:poddisruptionbudgets", "R :persistentvolumeclaims,persistentvolumes",
    "create authentication.k8s.io:tokenreviews", "create authorization.k8s.io:subjectaccessreviews",
    "R storage.k8s.io:csinodes", "R :namespaces", "R storage.k8s.io:csidrivers", "R storage.k8s.io:csistoragecapacities",
    "R resource.k8s.io:deviceclasses", "get,list,patch,update,watch resource.k8s.io:resourceclaims",
    "patch,update resource.k8s.io:resourceclaims/status", "R resource.k8s.io:resourceslices",
  ],
  "system:volume-scheduler": ["get,list,patch,update,watch :persistentvolumes", "R storage.k8s.io:storageclasses", "get,list,patch,update,watch :persistentvolumeclaims"],
  "system:persistent-volume-provisioner": [
    "create,delete,get,list,watch :persistentvolumes", "get,list,update,watch :persistentvolumeclaims",
    "R storage.k8s.io:storageclasses", "watch :events", EVENTS,
  ],
  "system:certificates.k8s.io:certificatesigningrequests:nodeclient": ["create certificates.k8s.io:certificatesigningrequests/nodeclient"],
  "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": ["create certificates.k8s.io:certificatesigningrequests/selfnodeclient"],
  "system:certificates.k8s.io:kube-apiserver-client-approver": [`${SIGNERS}kube-apiserver-client`],
  "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver": [`${SIGNERS}kube-apiserver-client-kubelet`],
  "system:certificates.k8s.io:kubelet-serving-approver": [`${SIGNERS}kubelet-serving`],
  "system:certificates.k8s.io:legacy-unknown-approver": [`${SIGNERS}legacy-unknown`],
  "system:service-account-issuer-discovery": [
    "get /.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/",
  ],
  // K3s
  "system:k3s-controller": ["get :nodes", "list,watch :endpoints,namespaces,pods", "list,watch networking.k8s.io:networkpolicies"],
};

/** Suffix of `system:controller:`; each is bound to the service account of that name in kube-system. */
const controllerRoles: Readonly<Record<string, readonly string[]>> = {
  "attachdetach-controller": [
    "list,watch :persistentvolumeclaims,persistentvolumes", "R :nodes", "patch,update :nodes/status", "list,watch :pods",
    EVENTS, "create,delete,get,list,watch storage.k8s.io:volumeattachments", "R storage.k8s.io:csidrivers", "R storage.k8s.io:csinodes",
  ],
  "clusterrole-aggregation-controller": ["escalate,get,list,patch,update,watch rbac.authorization.k8s.io:clusterroles"],
  "cronjob-controller": [
    "get,list,update,watch batch:cronjobs", "create,delete,get,list,patch,update,watch batch:jobs", "update batch:cronjobs/status",
    "update batch:cronjobs/finalizers", "delete,list,watch :pods", EVENTS,
  ],
  "daemon-set-controller": [
    "R apps,extensions:daemonsets", "update apps,extensions:daemonsets/status", "update apps,extensions:daemonsets/finalizers",
    "list,watch :nodes", "create,delete,list,patch,watch :pods", "create :pods/binding",
    "create,delete,get,list,patch,update,watch apps:controllerrevisions", EVENTS,
  ],
  "deployment-controller": [
    "get,list,update,watch apps,extensions:deployments", "update apps,extensions:deployments/status",
    "update apps,extensions:deployments/finalizers", "create,delete,get,list,patch,update,watch apps,extensions:replicasets",
    "get,list,update,watch :pods", EVENTS,
  ],
  "disruption-controller": [
    "R apps,extensions:deployments", "R apps,extensions:replicasets", "R :replicationcontrollers", "R policy:poddisruptionbudgets",
    "R apps:statefulsets", "update policy:poddisruptionbudgets/status", "patch,update :pods/status", "get *:*/scale", EVENTS,
  ],
  "endpoint-controller": [
    "R :pods,services", "create,delete,get,list,update,watch :endpoints", "create :endpoints/restricted", EVENTS,
  ],
  "endpointslice-controller": [
    "R :nodes,pods,services", "update :services/finalizers", "create,delete,get,list,update,watch discovery.k8s.io:endpointslices", EVENTS,
  ],
  "endpointslicemirroring-controller": [
    "R :endpoints,services", "update :services/finalizers", "update :endpoints/finalizers",
    "create,delete,get,list,update,watch discovery.k8s.io:endpointslices", EVENTS,
  ],
  "expand-controller": [
    "get,list,patch,update,watch :persistentvolumes", "patch,update :persistentvolumeclaims/status", "R :persistentvolumeclaims",
    EVENTS, "get :services",
  ],
  "ephemeral-volume-controller": ["R :pods", "update :pods/finalizers", "create,get,list,watch :persistentvolumeclaims", EVENTS],
  "resource-claim-controller": [
    "R :pods", "update :pods/finalizers", "create,delete,get,list,watch resource.k8s.io:resourceclaims",
    "patch,update resource.k8s.io:resourceclaims,resourceclaims/status", "patch,update :pods/status", EVENTS,
  ],
  "generic-garbage-collector": ["delete,get,list,patch,update,watch *:*", EVENTS],
  "horizontal-pod-autoscaler": [
    "R autoscaling:horizontalpodautoscalers", "update autoscaling:horizontalpodautoscalers/status", "get,update *:*/scale",
    "list,watch :pods", "list,watch metrics.k8s.io:pods", "R custom.metrics.k8s.io:*", "R external.metrics.k8s.io:*", EVENTS,
  ],
  "job-controller": [
    "get,list,patch,update,watch batch:jobs", "update batch:jobs/status", "update batch:jobs/finalizers",
    "create,delete,list,patch,watch :pods", EVENTS,
  ],
  "namespace-controller": [
    "delete,get,list,watch :namespaces", "update :namespaces/finalize,namespaces/status", "delete,deletecollection,get,list,watch *:*",
  ],
  "node-controller": [
    "delete,get,list,patch,update,watch :nodes", "patch,update :nodes/status", "patch,update :pods/status",
    "delete,get,list,watch :pods", EVENTS,
  ],
  "persistent-volume-binder": [
    "create,delete,get,list,update,watch :persistentvolumes", "update :persistentvolumes/status", "get,list,update,watch :persistentvolumeclaims",
    "update :persistentvolumeclaims/status", "create,delete,get,list,watch :pods", "R storage.k8s.io:storageclasses",
    "list,watch :nodes", EVENTS, "watch :events", "get :services",
  ],
  "pod-garbage-collector": ["delete,list,watch :pods", "R :nodes", "patch :pods/status"],
  "replicaset-controller": [
    "get,list,update,watch apps,extensions:replicasets", "update apps,extensions:replicasets/status",
    "update apps,extensions:replicasets/finalizers", "create,delete,list,patch,watch :pods", EVENTS,
  ],
  "replication-controller": [
    "get,list,update,watch :replicationcontrollers", "update :replicationcontrollers/status",
    "update :replicationcontrollers/finalizers", "create,delete,list,patch,watch :pods", EVENTS,
  ],
  "resourcequota-controller": ["list,watch *:*", "update :resourcequotas/status", EVENTS],
  "route-controller": ["list,watch :nodes", "patch :nodes/status", EVENTS],
  "service-account-controller": ["create :serviceaccounts", EVENTS],
  "service-controller": ["R :services", "patch,update :services/status", "list,watch :nodes", EVENTS],
  "service-cidrs-controller": [
    "get,list,patch,update,watch networking.k8s.io:servicecidrs", "patch,update networking.k8s.io:servicecidrs/finalizers",
    "patch,update networking.k8s.io:servicecidrs/status", "R networking.k8s.io:ipaddresses", EVENTS,
  ],
  "statefulset-controller": [
    "list,watch :pods", "R apps:statefulsets", "update apps:statefulsets/status", "update apps:statefulsets/finalizers",
    "create,delete,get,patch,update :pods", "create,delete,get,list,patch,update,watch apps:controllerrevisions",
    "create,get,list,watch :persistentvolumeclaims", "delete,update :persistentvolumeclaims", "update :pods/finalizers", EVENTS,
  ],
  "ttl-controller": ["list,patch,update,watch :nodes", EVENTS],
  "certificate-controller": [
    "delete,get,list,watch certificates.k8s.io:certificatesigningrequests",
    "update certificates.k8s.io:certificatesigningrequests/approval,certificatesigningrequests/status",
    `${SIGNERS}kube-apiserver-client-kubelet`,
    "sign certificates.k8s.io:signers =kubernetes.io/kube-apiserver-client,kubernetes.io/kube-apiserver-client-kubelet,kubernetes.io/kubelet-serving,kubernetes.io/legacy-unknown",
    "create authorization.k8s.io:subjectaccessreviews", EVENTS,
  ],
  "pvc-protection-controller": ["get,list,update,watch :persistentvolumeclaims", "R :pods", EVENTS],
  "pv-protection-controller": ["get,list,update,watch :persistentvolumes", EVENTS],
  "volumeattributesclass-protection-controller": [
    "R :persistentvolumeclaims", "R :persistentvolumes", "get,list,update,watch storage.k8s.io:volumeattributesclasses", EVENTS,
  ],
  "ttl-after-finished-controller": ["delete,get,list,watch batch:jobs", EVENTS],
  "root-ca-cert-publisher": ["create,update :configmaps", EVENTS],
  "validatingadmissionpolicy-status-controller": [
    "R admissionregistration.k8s.io:validatingadmissionpolicies",
    "get,patch,update admissionregistration.k8s.io:validatingadmissionpolicies/status", EVENTS,
  ],
  "legacy-service-account-token-cleaner": ["get :configmaps =kube-apiserver-legacy-service-account-token-tracking", "delete,patch :secrets"],
};

/** Subjects: `u:` user, `g:` group, `s:` service account of kube-system. */
const clusterRoleBindings: Readonly<Record<string, readonly [role: string, subjects: string]>> = {
  "cluster-admin": ["cluster-admin", "g:system:masters"],
  "system:monitoring": ["system:monitoring", "g:system:monitoring"],
  "system:discovery": ["system:discovery", "g:system:authenticated"],
  "system:basic-user": ["system:basic-user", "g:system:authenticated"],
  "system:public-info-viewer": ["system:public-info-viewer", "g:system:authenticated g:system:unauthenticated"],
  "system:node-proxier": ["system:node-proxier", "u:system:kube-proxy"],
  "system:kube-controller-manager": ["system:kube-controller-manager", "u:system:kube-controller-manager"],
  "system:kube-dns": ["system:kube-dns", "s:kube-dns"],
  "system:kube-scheduler": ["system:kube-scheduler", "u:system:kube-scheduler"],
  "system:volume-scheduler": ["system:volume-scheduler", "u:system:kube-scheduler"],
  "system:node": ["system:node", ""],
  "system:service-account-issuer-discovery": ["system:service-account-issuer-discovery", "g:system:serviceaccounts"],
  // K3s
  "kube-apiserver-kubelet-admin": ["system:kubelet-api-admin", "u:kube-apiserver"],
  "system:k3s-controller": ["system:k3s-controller", "u:system:k3s-controller"],
};

const roles: readonly [namespace: string, name: string, rules: readonly string[]][] = [
  ["kube-system", "extension-apiserver-authentication-reader", ["R :configmaps =extension-apiserver-authentication"]],
  ["kube-system", "system:controller:bootstrap-signer", ["R :secrets"]],
  ["kube-system", "system:controller:cloud-provider", ["create,get,list,watch :configmaps"]],
  ["kube-system", "system:controller:token-cleaner", ["delete,get,list,watch :secrets", EVENTS]],
  ["kube-system", "system::leader-locking-kube-controller-manager", [
    "watch :configmaps", "get,update :configmaps =kube-controller-manager", "create,get,list,update,watch coordination.k8s.io:leases",
  ]],
  ["kube-system", "system::leader-locking-kube-scheduler", ["watch :configmaps", "get,update :configmaps =kube-scheduler"]],
  ["kube-public", "system:controller:bootstrap-signer", ["R :configmaps", "update :configmaps =cluster-info", EVENTS]],
];

const roleBindings: readonly [namespace: string, name: string, role: string, subjects: string][] = [
  ["kube-system", "system::extension-apiserver-authentication-reader", "extension-apiserver-authentication-reader",
    "u:system:kube-controller-manager u:system:kube-scheduler"],
  ["kube-system", "system::leader-locking-kube-controller-manager", "system::leader-locking-kube-controller-manager",
    "u:system:kube-controller-manager s:kube-controller-manager"],
  ["kube-system", "system::leader-locking-kube-scheduler", "system::leader-locking-kube-scheduler",
    "u:system:kube-scheduler s:kube-scheduler"],
  ["kube-system", "system:controller:bootstrap-signer", "system:controller:bootstrap-signer", "s:bootstrap-signer"],
  ["kube-system", "system:controller:cloud-provider", "system:controller:cloud-provider", "s:cloud-provider"],
  ["kube-system", "system:controller:token-cleaner", "system:controller:token-cleaner", "s:token-cleaner"],
  ["kube-public", "system:controller:bootstrap-signer", "system:controller:bootstrap-signer", "s:bootstrap-signer"],
];

/** Roles that collect the rules of others by label. */
const aggregates: readonly [name: string, parent: string | undefined][] = [["admin", undefined], ["edit", "admin"], ["view", "edit"]];

/** Every bootstrap object, complete, in the order of creation. */
export function bootstrapRbacObjects(): Obj[] {
  return [
    ...Object.entries(clusterRoles).map(([name, rules]) => clusterRole(name, rules)),
    ...aggregates.map(([name, parent]) => aggregateRole(name, parent)),
    ...Object.entries(controllerRoles).map(([name, rules]) => clusterRole(`system:controller:${name}`, rules)),
    ...Object.entries(clusterRoleBindings).map(([name, [role, subjects]]) => clusterRoleBinding(name, role, subjects)),
    ...Object.keys(controllerRoles).map((name) =>
      clusterRoleBinding(`system:controller:${name}`, `system:controller:${name}`, `s:${name}`)),
    ...roles.map(([namespace, name, rules]) => ({
      apiVersion: `${RBAC}/v1`, kind: "Role", metadata: { ...meta(name), namespace }, rules: rules.map(parseRule),
    })),
    ...roleBindings.map(([namespace, name, role, subjects]) => ({
      apiVersion: `${RBAC}/v1`, kind: "RoleBinding", metadata: { ...meta(name), namespace },
      roleRef: { apiGroup: RBAC, kind: "Role", name: role }, subjects: parseSubjects(subjects),
    })),
  ];
}

const meta = (name: string, labels: Record<string, string> = {}) => ({
  name,
  annotations: { "rbac.authorization.kubernetes.io/autoupdate": "true" },
  labels: { "kubernetes.io/bootstrapping": "rbac-defaults", ...labels },
});

const aggregateLabel = (to: string) => ({ [`rbac.authorization.k8s.io/aggregate-to-${to}`]: "true" });

function clusterRole(name: string, rules: readonly string[]): Obj {
  const to = /^system:aggregate-to-(\w+)$/.exec(name)?.[1];
  return {
    apiVersion: `${RBAC}/v1`, kind: "ClusterRole",
    metadata: meta(name, to ? aggregateLabel(to) : {}), rules: rules.map(parseRule),
  };
}

/** The rules are there from the start, so that the role works before any controller runs. */
function aggregateRole(name: string, parent: string | undefined): Obj {
  const chain = aggregates.slice(aggregates.findIndex(([n]) => n === name)).map(([n]) => n);
  return {
    apiVersion: `${RBAC}/v1`, kind: "ClusterRole",
    metadata: meta(name, parent ? aggregateLabel(parent) : {}),
    aggregationRule: { clusterRoleSelectors: [{ matchLabels: aggregateLabel(name) }] },
    rules: chain.flatMap((n) => clusterRoles[`system:aggregate-to-${n}`]!.map(parseRule)),
  };
}

const clusterRoleBinding = (name: string, role: string, subjects: string): Obj => ({
  apiVersion: `${RBAC}/v1`, kind: "ClusterRoleBinding", metadata: meta(name),
  roleRef: { apiGroup: RBAC, kind: "ClusterRole", name: role },
  ...(subjects && { subjects: parseSubjects(subjects) }),
});

function parseRule(text: string): object {
  const [verbText = "", target = "", names] = text.split(" ");
  const verbs = (verbSets[verbText] ?? verbText).split(",");
  if (target.startsWith("/") || target === "*") return { nonResourceURLs: target.split(","), verbs };
  const colon = target.indexOf(":");
  return {
    apiGroups: target.slice(0, colon).split(","), resources: target.slice(colon + 1).split(","), verbs,
    ...(names && { resourceNames: names.slice(1).split(",") }),
  };
}

function parseSubjects(text: string): object[] {
  return text.split(" ").map((subject) => {
    const name = subject.slice(2);
    if (subject.startsWith("s:")) return { kind: "ServiceAccount", name, namespace: "kube-system" };
    return { apiGroup: RBAC, kind: subject.startsWith("u:") ? "User" : "Group", name };
  });
}
