/** `--kube-apiserver-arg`: those options of upstream's server that have an effect here. */
import { readFile } from "node:fs/promises";
import { k3spError } from "@k3s-p/plugin-api";
import { parse } from "yaml";
import { type LineSink, openLog } from "./file.ts";
import { type Audit, createAudit } from "./index.ts";
import { type AuditPolicy, checkPolicy } from "./policy.ts";

export interface OpenAudit {
  readonly audit: Audit;
  close(): Promise<void>;
}

const known = ["audit-policy-file", "audit-log-path", "audit-log-maxsize", "audit-log-maxbackup"];

/** Undefined without `audit-policy-file`, or without a place to write to. */
export async function auditOf(args: readonly string[], warn: (message: string) => void, onError: (error: unknown) => void): Promise<OpenAudit | undefined> {
  const options = new Map(args.map((arg) => {
    const at = arg.indexOf("=");
    return at < 0 ? [arg.replace(/^--/, ""), "true"] : [arg.slice(0, at).replace(/^--/, ""), arg.slice(at + 1)];
  }));
  for (const name of options.keys()) if (!known.includes(name)) warn(`kube-apiserver-arg ${name} has no effect`);
  const policyFile = options.get("audit-policy-file");
  const path = options.get("audit-log-path");
  if (!policyFile || !path) {
    if (policyFile || path) warn("an audit log needs both audit-policy-file and audit-log-path");
    return undefined;
  }
  const policy = await readPolicy(policyFile);
  const megabytes = numberOf(options, "audit-log-maxsize");
  const maxBackups = numberOf(options, "audit-log-maxbackup");
  const log: LineSink = openLog({ path, onError, ...(megabytes && { maxSize: megabytes * 1024 * 1024 }), ...(maxBackups && { maxBackups }) });
  return { audit: createAudit({ policy, sink: log }), close: () => log.close() };
}

async function readPolicy(file: string): Promise<AuditPolicy> {
  try {
    return checkPolicy(parse(await readFile(file, "utf8")));
  } catch (cause) {
    throw k3spError("K3SP_FLAG_INVALID", {
      message: `kube-apiserver-arg audit-policy-file: ${file} cannot be used: ${(cause as Error).message}`,
      fix: "give a file with an audit.k8s.io/v1 Policy: https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/", cause,
    });
  }
}

function numberOf(options: ReadonlyMap<string, string>, name: string): number | undefined {
  const text = options.get(name);
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text)) return Number(text);
  throw k3spError("K3SP_FLAG_INVALID", { message: `kube-apiserver-arg ${name}: ${JSON.stringify(text)} is no number`, fix: `give a whole number` });
}
