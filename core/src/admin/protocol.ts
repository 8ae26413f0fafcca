/** The admin socket's messages: one JSON object a line; a request, then events, then one result or error. */
import { k3spError, type ErrorCode, type K3spError } from "@k3s-p/plugin-api";
import type { PluginStatus } from "../kernel/lifecycle.ts";

export interface Request {
  readonly op: string;
  readonly name?: string;
  /** `replace`: path or name of the plugin to take over. */
  readonly by?: string;
  readonly force?: boolean;
  /** `datastore-dump`: absolute path of the file that the server writes. */
  readonly file?: string;
  readonly follow?: boolean;
}

export type Reply =
  | { readonly event: unknown }
  | { readonly result: unknown }
  | { readonly error: WireError };

export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly detail: readonly string[];
  readonly fix: string;
}

export const toWire = ({ code, message, detail, fix }: K3spError): WireError => ({ code, message, detail, fix });
export const fromWire = ({ code, ...rest }: WireError): K3spError => k3spError(code, rest);

export interface ListResult {
  readonly plugins: readonly PluginStatus[];
  readonly leftOut: readonly { readonly plugin: string; readonly why: string }[];
}

export interface GraphResult {
  readonly plugins: readonly { readonly id: string; readonly slots: readonly string[]; readonly after: readonly string[] }[];
}

export interface TimelineStep {
  readonly id: string;
  /** Milliseconds since boot when its needs were ready, and when it was ready itself. */
  readonly started: number;
  readonly ready: number;
}

export interface TimelineResult {
  /** Of the server's start. */
  readonly steps: readonly TimelineStep[];
  /** Of plugins that were started, or started again, since. */
  readonly later: readonly TimelineStep[];
  /** Of the server's start. */
  readonly criticalPath: readonly { readonly id: string; readonly ms: number }[];
}

/** What a plugin waits to be approved for; no version = nothing. */
export interface PendingResult {
  readonly version?: string;
  readonly added: readonly string[];
}

/** What a change did, one line each, as the user reads it. */
export interface ChangeResult {
  readonly lines: readonly string[];
}
