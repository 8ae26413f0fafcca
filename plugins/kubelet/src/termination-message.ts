/** A container's last words: its termination message file, or the tail of its log when it failed without any. */
import { open } from "node:fs/promises";
import type { ContainerStatus } from "@k3s-p/plugin-api/slots";
import { join } from "node:path";
import { annotationsOf, containerNameOf, podUidOf, restartCountOf } from "./pod.ts";
import { messageFile } from "./paths.ts";
import type { Paths } from "@k3s-p/plugin-api/slots";
import { parseCriLine } from "./server/log-lines.ts";

const MAX_MESSAGE = 4096;
const MAX_LOG = 2048;
const MAX_LOG_LINES = 80;

export async function terminationMessage(paths: Paths, status: ContainerStatus, logDirectory: string): Promise<string> {
  const uid = podUidOf(status);
  if (!uid) return "";
  const file = messageFile(paths, uid, containerNameOf(status), restartCountOf(status));
  const text = await tail(file, MAX_MESSAGE);
  const fallback = status.annotations[annotationsOf.messagePolicy] === "FallbackToLogsOnError";
  if (text !== "" || !fallback || status.exitCode === 0) return text;
  const log = join(logDirectory, containerNameOf(status), `${restartCountOf(status)}.log`);
  const raw = await tail(status.logPath || log, MAX_LOG * 4);
  const lines = raw.split("\n").flatMap((line) => parseCriLine(line) ?? []);
  return lines.slice(-MAX_LOG_LINES).map((line) => line.content + (line.partial ? "" : "\n")).join("").slice(-MAX_LOG);
}

async function tail(path: string, bytes: number): Promise<string> {
  const handle = await open(path, "r").catch(() => undefined);
  if (!handle) return "";
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, bytes);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.subarray(0, bytesRead).toString("utf8");
  } finally {
    await handle.close();
  }
}
