/** The audit log: who asked what of the server and what it answered, one JSON line for every stage of a request. */
import { randomUUID } from "node:crypto";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import { decodeBody } from "../server/body.ts";
import type { Incoming } from "../server/handler.ts";
import type { ApiResponse, RequestInfo } from "../server/request.ts";
import { isPlainObject } from "../verbs/engine.ts";
import type { LineSink } from "./file.ts";
import { type AuditPolicy, type Stage, type Treatment, treatmentOf } from "./policy.ts";

export interface AuditRecord {
  /** The request's body, once it has been read. */
  body(bytes: Buffer): void;
  annotate(key: string, value: string): void;
  decided(allowed: boolean): void;
  /** The answer begins, and goes on for long. */
  started(code: number): void;
  complete(code: number, failure?: { readonly message?: string; readonly reason?: string }): void;
}

export interface Audit {
  /** Undefined when the policy does not care for the request. */
  begin(incoming: Incoming, info: RequestInfo, user: UserInfo, res?: ApiResponse, notes?: ReadonlyMap<string, string>): AuditRecord | undefined;
}

export interface AuditOptions {
  readonly policy: AuditPolicy;
  readonly sink: Pick<LineSink, "write">;
  readonly now?: () => Date;
  readonly newId?: () => string;
}

/** Bodies beyond this are left out, as a line has to be parsed by somebody. */
const MAX_BODY = 3 * 1024 * 1024;

export function createAudit({ policy, sink, now = () => new Date(), newId = randomUUID }: AuditOptions): Audit {
  return {
    begin(incoming, info, user, res, notes) {
      const treatment = treatmentOf(policy, user, info);
      if (treatment.level === "None") return undefined;
      const record = startRecord({ incoming, info, user, treatment, sink, now, auditID: res?.auditId ?? String(incoming.headers["audit-id"] || newId()) });
      if (res && treatment.level === "RequestResponse" && info.verb !== "watch") captureBody(res, record.response);
      notes?.forEach((value, key) => record.annotate(key, value));
      record.emit("RequestReceived");
      return record;
    },
  };
}

interface Start {
  readonly incoming: Incoming;
  readonly info: RequestInfo;
  readonly user: UserInfo;
  readonly treatment: Treatment;
  readonly sink: Pick<LineSink, "write">;
  readonly now: () => Date;
  readonly auditID: string;
}

type Recording = AuditRecord & { emit(stage: Stage, more?: object): void; response(bytes: Buffer): void };

function startRecord({ incoming, info, user, treatment, sink, now, auditID }: Start): Recording {
  const { level, omitStages, omitManagedFields } = treatment;
  const annotations: Record<string, string> = {};
  const bodies: { requestObject?: Buffer; responseObject?: Buffer } = {};
  const head = {
    kind: "Event", apiVersion: "audit.k8s.io/v1", level, auditID, requestURI: incoming.url, verb: info.verb, user: shownUser(user),
    sourceIPs: sourcesOf(incoming), ...(incoming.headers["user-agent"] && { userAgent: incoming.headers["user-agent"] }),
    ...(info.isResource && { objectRef: objectRef(info) }), requestReceivedTimestamp: micro(now()),
  };
  const holdsBodies = level === "Request" || level === "RequestResponse";
  const record: Recording = {
    emit(stage, more = {}) {
      if (omitStages.has(stage)) return;
      const tail = Object.keys(annotations).length > 0 && stage !== "RequestReceived" ? { annotations } : {};
      sink.write(JSON.stringify({ ...head, stage, stageTimestamp: micro(now()), ...more, ...tail }));
    },
    body(bytes) {
      if (holdsBodies) bodies.requestObject = bytes;
    },
    response: (bytes) => void (bodies.responseObject = bytes),
    annotate: (key, value) => void (annotations[key] = value),
    decided: (allowed) => void (annotations["authorization.k8s.io/decision"] = allowed ? "allow" : "forbid"),
    started: (code) => record.emit("ResponseStarted", { responseStatus: { metadata: {}, code } }),
    complete(code, failure) {
      const status = { metadata: {}, ...(failure && { status: "Failure", message: failure.message, reason: failure.reason }), code };
      const more = { responseStatus: status, stageTimestamp: micro(now()) };
      if (!bodies.requestObject && !bodies.responseObject) return record.emit("ResponseComplete", more);
      const type = incoming.headers["content-type"];
      void Promise.all([readObject(bodies.requestObject, type, omitManagedFields), readObject(bodies.responseObject, undefined, omitManagedFields)])
        .then(([requestObject, responseObject]) => record.emit("ResponseComplete", { ...more, requestObject, responseObject }));
    },
  };
  return record;
}

const shownUser = ({ name, uid, groups, extra }: UserInfo): object => ({ username: name, ...(uid && { uid }), groups, ...(extra && { extra }) });

function sourcesOf({ headers, remoteAddress }: Incoming): readonly string[] {
  const forwarded = String(headers["x-forwarded-for"] ?? "").split(",").map((text) => text.trim()).filter(Boolean);
  const remote = remoteAddress.replace(/^::ffff:/, "");
  return forwarded.at(-1) === remote ? forwarded : [...forwarded, remote];
}

function objectRef({ resource, namespace, name, group, version, subresource }: RequestInfo): object {
  return {
    resource, ...(namespace && { namespace }), ...(name && { name }), ...(group && { apiGroup: group }), apiVersion: version,
    ...(subresource && { subresource }),
  };
}

const micro = (date: Date): string => date.toISOString().replace("Z", "000Z");

const PROTOBUF = "application/vnd.kubernetes.protobuf";
const MAGIC = Buffer.from("k8s\0");

/** Undefined for what is no object, such as a log. */
async function readObject(bytes: Buffer | undefined, type: string | undefined, omitManagedFields: boolean): Promise<unknown> {
  if (!bytes || bytes.length === 0 || bytes.length > MAX_BODY) return undefined;
  try {
    const isProtobuf = bytes.subarray(0, MAGIC.length).equals(MAGIC);
    const object = await decodeBody(bytes, isProtobuf ? PROTOBUF : type);
    return omitManagedFields ? withoutManagedFields(object) : object;
  } catch {
    return undefined;
  }
}

function withoutManagedFields(object: unknown): unknown {
  if (!isPlainObject(object)) return object;
  const { metadata, items } = object;
  if (isPlainObject(metadata)) delete metadata["managedFields"];
  if (Array.isArray(items)) items.forEach(withoutManagedFields);
  return object;
}

/** Listens in on the answer. */
function captureBody(res: ApiResponse, done: (bytes: Buffer) => void): void {
  const chunks: Buffer[] = [];
  let size = 0;
  const keep = (chunk: Uint8Array | string | undefined): void => {
    if (chunk === undefined || size > MAX_BODY) return;
    chunks.push(Buffer.from(chunk as string));
    size += chunk.length;
  };
  const { write, end } = res;
  res.write = (chunk) => (keep(chunk), write.call(res, chunk));
  res.end = (chunk) => {
    keep(chunk);
    done(Buffer.concat(chunks));
    return end.call(res, chunk);
  };
}
