/** The options of upstream's server that open an audit log. */
import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { argError, numberArg, type ServerArgs } from "../server/args.ts";
import { type LineSink, openLog } from "./file.ts";
import { type Audit, createAudit } from "./index.ts";
import { type AuditPolicy, checkPolicy } from "./policy.ts";

export interface OpenAudit {
  readonly audit: Audit;
  close(): Promise<void>;
}

/** Undefined without `audit-policy-file`, or without a place to write to. */
export async function auditOf(args: ServerArgs, warn: (message: string) => void, onError: (error: unknown) => void): Promise<OpenAudit | undefined> {
  const policyFile = args.get("audit-policy-file");
  const path = args.get("audit-log-path");
  if (!policyFile || !path) {
    if (policyFile || path) warn("an audit log needs both audit-policy-file and audit-log-path");
    return undefined;
  }
  const policy = await readPolicy(policyFile);
  const megabytes = numberArg(args, "audit-log-maxsize");
  const maxBackups = numberArg(args, "audit-log-maxbackup");
  const log: LineSink = await openLog({ path, onError, ...(megabytes && { maxSize: megabytes * 1024 * 1024 }), ...(maxBackups && { maxBackups }) }).catch((cause: Error) => {
    throw argError("audit-log-path", `${path} cannot be written: ${cause.message}`, "name a file that this user may write", cause);
  });
  return { audit: createAudit({ policy, sink: log }), close: () => log.close() };
}

async function readPolicy(file: string): Promise<AuditPolicy> {
  try {
    return checkPolicy(parse(await readFile(file, "utf8")));
  } catch (cause) {
    throw argError("audit-policy-file", `${file} cannot be used: ${(cause as Error).message}`,
      "give a file with an audit.k8s.io/v1 Policy: https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/", cause);
  }
}
