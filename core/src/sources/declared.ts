/** A module that is a plugin by itself: what it declares is read in a child that may read its code and do nothing else. */
import { fork, type ChildProcess } from "node:child_process";
import { basename, extname } from "node:path";
import { k3spError } from "@k3s-p/plugin-api";
import { codeFlags } from "../isolation/permissions.ts";
import { API_VERSION } from "../kernel/manifest.ts";
import type { Declaration } from "./declaring-child.ts";

const timeout = 10_000;

/** The manifest as a package.json would hold it. */
export async function declaredBy(entry: string): Promise<Readonly<Record<string, unknown>>> {
  const { manifest = {}, provides, needs, wants, config } = await ask(entry);
  const { name = basename(entry, extname(entry)), version = "0.0.0", description = "", ...rest } = manifest;
  return { name, version, description, k3sp: { api: `^${API_VERSION}`, provides, needs, wants, ...(config && { config }), ...rest } };
}

async function ask(entry: string): Promise<Declaration> {
  const child = fork(new URL("./declaring-child.ts", import.meta.url), [entry], {
    stdio: ["ignore", "ignore", "pipe", "ipc"], env: {}, execArgv: ["--max-old-space-size=128", ...codeFlags(entry)],
  });
  const late = setTimeout(() => child.kill("SIGKILL"), timeout);
  try {
    return await answerOf(child, entry);
  } finally {
    clearTimeout(late);
    child.kill("SIGKILL");
  }
}

function answerOf(child: ChildProcess, entry: string): Promise<Declaration> {
  let stderr = "";
  child.stderr!.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
  return new Promise((resolve, reject) => {
    child.on("message", (answer: Declaration | { readonly error: string }) => ("error" in answer ? reject(failed(entry, answer.error)) : resolve(answer)));
    child.on("error", (error) => reject(failed(entry, error.message)));
    child.on("close", (code, signal) => reject(failed(entry, signal ? `it did not say what it is within ${timeout / 1000} s` : `it ended with exit code ${code} when it was imported`, stderr)));
  });
}

const failed = (entry: string, why: string, stderr = "") =>
  k3spError("K3SP_PLUGIN_LOAD_FAILED", {
    message: `${entry}: ${why}`, detail: stderr.split("\n").filter(Boolean).slice(-5), fix: "export default definePlugin({ ... }), and do nothing else when the module is imported",
  });
