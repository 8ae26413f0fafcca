/**
 * Definitions in the shapes of large, well-known projects: certificates, workflows, clusters of machines, gateways and
 * monitoring. Each brings what its model leans on; pod templates are inlined from the server's own OpenAPI, as their
 * generators do, so that the definitions reach the size of the real ones.
 */

type Schema = { [key: string]: any };
export type Definition = { apiVersion: string; kind: string; metadata: { name: string; [key: string]: any }; spec: any };

const text = (more: Schema = {}): Schema => ({ type: "string", ...more });
const object = (properties: Schema, more: Schema = {}): Schema => ({ type: "object", properties, ...more });
const listOf = (items: Schema, more: Schema = {}): Schema => ({ type: "array", items, ...more });
const mapList = (keys: readonly string[], properties: Schema, more: Schema = {}): Schema =>
  listOf(object(properties, { required: keys }), { "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys, ...more });
const rule = (expression: string, message: string, more: Schema = {}): Schema => ({ rule: expression, message, ...more });

const conditions = mapList(["type"], {
  type: text({ maxLength: 316 }), status: text({ enum: ["True", "False", "Unknown"] }), reason: text({ minLength: 1 }), message: text(),
  lastTransitionTime: text({ format: "date-time" }), observedGeneration: { type: "integer", format: "int64", minimum: 0 },
});
const selector = object({
  matchLabels: { type: "object", additionalProperties: text() },
  matchExpressions: listOf(object({ key: text(), operator: text(), values: listOf(text(), { "x-kubernetes-list-type": "atomic" }) }, { required: ["key", "operator"] }), { "x-kubernetes-list-type": "atomic" }),
}, { "x-kubernetes-map-type": "atomic" });

interface Names {
  readonly group: string;
  readonly kind: string;
  readonly plural: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  readonly scope?: "Namespaced" | "Cluster";
}

const version = (name: string, schema: Schema, more: Schema = {}): Schema => ({
  name, served: true, storage: true, schema: { openAPIV3Schema: object({ apiVersion: text(), kind: text(), metadata: { type: "object" }, ...schema }) }, subresources: { status: {} }, ...more,
});

function definition({ group, kind, plural, scope = "Namespaced", ...names }: Names, versions: readonly Schema[], more: Schema = {}): Definition {
  return {
    apiVersion: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition", metadata: { name: `${plural}.${group}` },
    spec: { group, scope, names: { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List`, ...names }, versions, ...more },
  };
}

const readyColumns = [
  { name: "Ready", type: "string", jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
  { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
];

/** A certificate: enums, formats, defaults below defaults, a required reference, columns and selectable fields. */
export const certificates = (): Definition => definition({ group: "certs.example.com", kind: "Certificate", plural: "certificates", shortNames: ["cert", "certs"], categories: ["certs"] }, [version("v1", {
  spec: object({
    secretName: text({ minLength: 1, maxLength: 253 }), commonName: text({ maxLength: 64 }), duration: text({ format: "duration" }), renewBefore: text({ format: "duration" }),
    renewBeforePercentage: { type: "integer", format: "int32", minimum: 1, maximum: 99 },
    dnsNames: listOf(text({ format: "hostname" }), { maxItems: 100, "x-kubernetes-list-type": "set" }), ipAddresses: listOf(text({ anyOf: [{ format: "ipv4" }, { format: "ipv6" }] })),
    uris: listOf(text({ format: "uri" })), emailAddresses: listOf(text({ format: "email" })), isCA: { type: "boolean", default: false },
    issuerRef: object({ name: text(), kind: text({ default: "Issuer" }), group: text({ default: "certs.example.com" }) }, { required: ["name"] }),
    privateKey: object({
      algorithm: text({ enum: ["RSA", "ECDSA", "Ed25519"], default: "RSA" }), size: { type: "integer", format: "int32" },
      rotationPolicy: text({ enum: ["Never", "Always"], default: "Always" }), encoding: text({ enum: ["PKCS1", "PKCS8"], default: "PKCS1" }),
    }, { default: {}, "x-kubernetes-validations": [rule("!(self.algorithm == 'Ed25519' && has(self.size))", "size must not be set for Ed25519", { reason: "FieldValueForbidden", fieldPath: ".size" })] }),
    usages: listOf(text({ enum: ["digital signature", "key encipherment", "server auth", "client auth"] }), { default: ["digital signature", "key encipherment"] }),
    secretTemplate: object({ labels: { type: "object", additionalProperties: text() }, annotations: { type: "object", additionalProperties: text() } }),
    keystores: object({ jks: object({ create: { type: "boolean" }, password: text({ format: "password" }) }, { required: ["create"] }), pkcs12: { type: "object", nullable: true, properties: { create: { type: "boolean" } } } }),
    otherNames: listOf(object({ oid: text({ pattern: "^[0-2](\\.\\d+)+$" }), value: text({ format: "byte" }) })),
  }, {
    required: ["secretName", "issuerRef"],
    "x-kubernetes-validations": [
      rule("!(has(self.renewBefore) && has(self.renewBeforePercentage))", "renewBefore and renewBeforePercentage are mutually exclusive"),
      rule("!has(self.duration) || !has(self.renewBefore) || self.renewBefore < self.duration", "renewBefore must be less than duration", { messageExpression: "'renewBefore ' + string(self.renewBefore) + ' must be less than duration ' + string(self.duration)" }),
      rule("self.issuerRef == oldSelf.issuerRef", "issuerRef is immutable"),
    ],
  }),
  status: object({ conditions, notAfter: text({ format: "date-time" }), revision: { type: "integer", format: "int64" } }),
}, { additionalPrinterColumns: [...readyColumns, { name: "Secret", type: "string", jsonPath: ".spec.secretName", priority: 1 }], selectableFields: [{ jsonPath: ".spec.issuerRef.name" }, { jsonPath: ".spec.secretName" }] })]);

/** A workflow: free-form arguments, steps in steps, containers whole, a template of any of several kinds. */
export const workflows = (podTemplate: Schema): Definition => definition({ group: "flows.example.com", kind: "Workflow", plural: "workflows", shortNames: ["wf"] }, [version("v1alpha1", {
  spec: object({
    entrypoint: text({ maxLength: 128 }), arguments: { type: "object", "x-kubernetes-preserve-unknown-fields": true }, podSpecPatch: text(), parallelism: { type: "integer", format: "int64" },
    podTemplate, volumes: podTemplate["properties"].spec.properties.volumes,
    ttlStrategy: object({ secondsAfterCompletion: { type: "integer", format: "int32", minimum: 0 } }),
    templates: mapList(["name"], {
      name: text({ pattern: "^[a-z]([-a-z0-9]*[a-z0-9])?$" }), container: podTemplate["properties"].spec.properties.containers.items,
      script: { type: "object", "x-kubernetes-preserve-unknown-fields": true, properties: { source: text({ minLength: 1 }) }, required: ["source"] },
      steps: listOf(listOf(object({ name: text(), template: text(), withItems: listOf({ "x-kubernetes-preserve-unknown-fields": true }), when: text() }, { required: ["name"] }))),
      suspend: object({ duration: text() }), retries: { "x-kubernetes-int-or-string": true, anyOf: [{ type: "integer" }, { type: "string" }], default: 0 },
    }, { maxItems: 50 }),
  }, {
    required: ["entrypoint", "templates"],
    "x-kubernetes-validations": [rule("self.templates.exists(t, t.name == self.entrypoint)", "entrypoint must name a template", { messageExpression: "'no template is named ' + self.entrypoint", fieldPath: ".entrypoint", reason: "FieldValueInvalid" })],
  }),
  status: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
}, { additionalPrinterColumns: [{ name: "Status", type: "string", jsonPath: ".status.phase" }, { name: "Templates", type: "string", jsonPath: ".spec.templates[*].name" }] })]);

/** Sets of machines: two versions that a webhook converts, scale, immutability with and without an old value, ratcheting. */
export function machines(conversion: Schema = { strategy: "None" }): Definition {
  const spec = (more: Schema): Schema => object({
    clusterName: text({ minLength: 1, "x-kubernetes-validations": [rule("self == oldSelf", "clusterName is immutable")] }), selector, replicas: { type: "integer", format: "int32", default: 1, minimum: 0 },
    providerID: text({ maxLength: 64, "x-kubernetes-validations": [{ rule: "oldSelf.orValue(self) == self", optionalOldSelf: true, message: "providerID may be set once" }] }),
    infrastructure: { type: "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true },
    taints: mapList(["key", "effect"], { key: text(), effect: text({ enum: ["NoSchedule", "NoExecute"] }), value: text() }), ...more,
  }, { required: ["clusterName"] });
  const scale = { subresources: { status: {}, scale: { specReplicasPath: ".spec.replicas", statusReplicasPath: ".status.replicas", labelSelectorPath: ".status.selector" } } };
  const status = object({ replicas: { type: "integer" }, selector: text(), conditions });
  return definition({ group: "cluster.example.com", kind: "MachineSet", plural: "machinesets", shortNames: ["ms"] }, [
    version("v1beta1", { spec: spec({ drainTimeout: text({ format: "duration" }) }), status }, { storage: false, deprecated: true, ...scale }),
    version("v1beta2", { spec: spec({ drain: object({ timeoutSeconds: { type: "integer", minimum: 0 } }) }), status }, scale),
  ], { conversion });
}

/** A gateway: lists by two keys, rules over lists, unions, bounds of everything. */
export const gateways = (): Definition => definition({ group: "gw.example.com", kind: "Gateway", plural: "gateways", shortNames: ["gtw"] }, [version("v1", {
  spec: object({
    gatewayClassName: text({ minLength: 1, maxLength: 253 }), addresses: listOf(object({
      type: text({ default: "IPAddress", pattern: "^Hostname|IPAddress|[a-z0-9.]+/[A-Za-z0-9]+$" }), value: text({ maxLength: 253 }),
    }, { oneOf: [{ properties: { type: { enum: ["IPAddress"] }, value: { anyOf: [{ format: "ipv4" }, { format: "ipv6" }] } } }, { properties: { type: { not: { enum: ["IPAddress"] } } } }] }), { maxItems: 16 }),
    listeners: mapList(["name"], {
      name: text({ maxLength: 253 }), port: { type: "integer", format: "int32", minimum: 1, maximum: 65535 }, protocol: text({ maxLength: 255 }), hostname: text({ maxLength: 253 }),
      tls: object({ mode: text({ enum: ["Terminate", "Passthrough"], default: "Terminate" }), certificateRefs: listOf(object({ name: text(), kind: text({ default: "Secret" }) }, { required: ["name"] }), { maxItems: 64 }) }, {
        "x-kubernetes-validations": [rule("self.mode == 'Terminate' ? has(self.certificateRefs) && size(self.certificateRefs) > 0 : true", "certificateRefs must be specified when mode is Terminate")],
      }),
      allowedRoutes: object({ namespaces: object({ from: text({ enum: ["All", "Selector", "Same"], default: "Same" }), selector }, { default: { from: "Same" } }) }, { default: { namespaces: { from: "Same" } } }),
    }, {
      minItems: 1, maxItems: 64,
      "x-kubernetes-validations": [
        rule("self.all(l, l.protocol in ['HTTP', 'TCP', 'UDP'] ? !has(l.tls) : true)", "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']"),
        rule("self.all(a, self.exists_one(b, a.port == b.port && a.protocol == b.protocol && (has(a.hostname) && has(b.hostname) ? a.hostname == b.hostname : !has(a.hostname) && !has(b.hostname))))", "Combination of port, protocol and hostname must be unique for each listener"),
      ],
    }),
  }, { required: ["gatewayClassName", "listeners"] }),
  status: object({ conditions, listeners: mapList(["name"], { name: text(), attachedRoutes: { type: "integer" }, conditions }) }, { default: { conditions: [{ type: "Accepted", status: "Unknown", reason: "Pending", message: "Waiting for controller", lastTransitionTime: "1970-01-01T00:00:00Z" }] } }),
}, { additionalPrinterColumns: [{ name: "Class", type: "string", jsonPath: ".spec.gatewayClassName" }, { name: "Address", type: "string", jsonPath: ".spec.addresses[*].value" }, ...readyColumns] })]);

/** Monitoring: whole pod templates, embedded claims, quantities, and groups of rules with either of two names. */
export const monitors = (podTemplate: Schema, claim: Schema): Definition => definition({ group: "mon.example.com", kind: "Prometheus", plural: "prometheuses", shortNames: ["prom"] }, [version("v1", {
  spec: object({
    replicas: { type: "integer", format: "int32" }, retention: text({ pattern: "^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$", default: "24h" }),
    podTemplate, containers: podTemplate["properties"].spec.properties.containers, initContainers: podTemplate["properties"].spec.properties.containers,
    affinity: podTemplate["properties"].spec.properties.affinity, serviceMonitorSelector: selector, scrapeInterval: text({ default: "30s" }),
    storage: object({ volumeClaimTemplate: { ...claim, "x-kubernetes-embedded-resource": true } }),
    ruleGroups: mapList(["name"], { name: text(), interval: text(), rules: listOf(object({ alert: text(), record: text(), expr: { "x-kubernetes-int-or-string": true, anyOf: [{ type: "integer" }, { type: "string" }] }, for: text() }, { required: ["expr"], oneOf: [{ required: ["alert"] }, { required: ["record"] }] })) }),
  }),
  status: object({ replicas: { type: "integer" }, availableReplicas: { type: "integer" }, conditions }),
}, {
  subresources: { status: {}, scale: { specReplicasPath: ".spec.replicas", statusReplicasPath: ".status.replicas" } },
  additionalPrinterColumns: [{ name: "Desired", type: "integer", jsonPath: ".spec.replicas" }, ...readyColumns],
})]);

/** A built-in kind's OpenAPI v2 definition as a structural schema: references inlined, metadata left free, as controller-gen does. */
export function structural(definitions: Readonly<Record<string, Schema>>, name: string): Schema {
  const resolve = (schema: Schema): Schema => {
    const { $ref, description, ...own } = schema;
    const reference = typeof $ref === "string" ? $ref.slice("#/definitions/".length) : "";
    if (reference.endsWith(".ObjectMeta")) return { type: "object", properties: { labels: { type: "object", additionalProperties: text() }, annotations: { type: "object", additionalProperties: text() }, name: text() } };
    if (reference.endsWith(".Quantity")) return { "x-kubernetes-int-or-string": true, anyOf: [{ type: "integer" }, { type: "string" }], pattern: "^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$" };
    if (reference.endsWith(".IntOrString")) return { "x-kubernetes-int-or-string": true, anyOf: [{ type: "integer" }, { type: "string" }] };
    const { "x-kubernetes-patch-merge-key": _, "x-kubernetes-patch-strategy": __, "x-kubernetes-group-version-kind": ___, "x-kubernetes-unions": ____, default: _____, ...rest } = { ...(reference && resolve(definitions[reference]!)), ...own } as Schema;
    const items = rest["items"] && resolve(rest["items"] as Schema);
    const keys = (rest["x-kubernetes-list-map-keys"] ?? []) as string[];
    // Keys of built-in lists may have defaults that their OpenAPI does not tell.
    const isLoose = keys.some((key) => !((items as Schema)["required"] ?? []).includes(key));
    if (isLoose) delete rest["x-kubernetes-list-map-keys"];
    return {
      ...rest, ...(isLoose && { "x-kubernetes-list-type": "atomic" }), ...(description && { description }),
      ...(rest["properties"] && { properties: Object.fromEntries(Object.entries(rest["properties"] as Schema).map(([key, value]) => [key, resolve(value as Schema)])) }),
      ...(items && { items }),
      ...(typeof rest["additionalProperties"] === "object" && { additionalProperties: resolve(rest["additionalProperties"] as Schema) }),
    };
  };
  return resolve(definitions[name]!);
}
