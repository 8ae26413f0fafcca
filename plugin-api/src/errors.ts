/** The one factory of catalogued errors: a stable code, what happened, where, and how to fix it. */

export interface ErrorEntry {
  readonly title: string;
  /** Default advice; an error may carry a better one. */
  readonly fix: string;
}

/** Every `K3SP_*` code. `k3s-p help CODE` prints the entry. */
export const errorCatalogue = {
  K3SP_FLAG_UNKNOWN: { title: "unknown flag", fix: "see k3s-p help server; for an agent, k3s-p help agent" },
  K3SP_FLAG_INVALID: { title: "bad value of a flag", fix: "see k3s-p help server; for an agent, k3s-p help agent" },
  K3SP_COMMAND_UNKNOWN: { title: "unknown command", fix: "see k3s-p --help" },
  K3SP_CONFIG_SYNTAX: { title: "config file is not valid YAML", fix: "correct the line that is named" },
  K3SP_CONFIG_INVALID: { title: "config value is not allowed", fix: "use one of the allowed values" },
  K3SP_CONFIG_MISSING: { title: "config file not found", fix: "create the file or drop --config" },
  K3SP_MANIFEST_INVALID: { title: "plugin manifest is not valid", fix: "correct the fields that are named in the plugin's package.json" },
  K3SP_PLUGIN_NOT_FOUND: { title: "plugin not found", fix: "give --plugin a folder with a package.json, a .ts or .js file, a .tgz, an executable, or the name of an npm package" },
  K3SP_PLUGIN_SOURCE_INVALID: { title: "a file is not a plugin", fix: "give a folder with a package.json, a .ts or .js file, a .tgz, an executable, or the name of an npm package" },
  K3SP_PLUGIN_INSTALL_FAILED: { title: "npm could not install a plugin", fix: "see what npm says" },
  K3SP_PLUGIN_NAME_CONFLICT: { title: "two plugins have the same name", fix: "rename one of them, or load only one" },
  K3SP_PLUGIN_UNAPPROVED: { title: "a plugin asks for more rights than were approved", fix: "look at what it asks for, then k3s-p plugin approve NAME" },
  K3SP_PLUGIN_LOAD_FAILED: { title: "plugin could not be loaded", fix: "correct the error in the plugin's module" },
  K3SP_PLUGIN_START_FAILED: { title: "plugin failed to start", fix: "correct the cause, or disable the plugin with --disable" },
  K3SP_PLUGIN_START_TIMEOUT: { title: "plugin was not ready in time", fix: "look at the plugin's log lines above" },
  K3SP_PLUGIN_HOOK_FAILED: { title: "a plugin's hook failed", fix: "correct the plugin, or disable it with --disable" },
  K3SP_PLUGIN_CRASHED: { title: "a plugin let an error escape", fix: "correct the plugin, or disable it with --disable" },
  K3SP_PLUGIN_QUARANTINED: { title: "a plugin crashed too often and is not started again", fix: "correct the plugin, then k3s-p plugin enable NAME" },
  K3SP_PLUGIN_UNKNOWN: { title: "no plugin has this name", fix: "see k3s-p plugin list" },
  K3SP_PLUGIN_NEEDED: { title: "other plugins need this one", fix: "disable them first, or add --force to stop them as well" },
  K3SP_PLUGIN_FIXED: { title: "a plugin cannot change while the server runs", fix: "change the configuration and restart the server" },
  K3SP_SERVER_NOT_RUNNING: { title: "no running server was found", fix: "start one with k3s-p server, or name its folder with --data-dir" },
  K3SP_SLOT_CONFLICT: { title: "two plugins want the same slot", fix: "choose one with --slot SLOT=PLUGIN" },
  K3SP_SLOT_MISSING: { title: "no plugin provides a slot that is needed", fix: "enable a provider of the slot" },
  K3SP_SLOT_UNKNOWN: { title: "unknown slot", fix: "see k3s-p plugin plan for the slots" },
  K3SP_SLOT_UNAVAILABLE: { title: "the slot has no ready provider now", fix: "retry" },
  K3SP_DEPENDENCY_CYCLE: { title: "plugins need each other in a circle", fix: "drop one of the needs" },
  K3SP_DEPENDENCY_VERSION: { title: "a contract version does not fit", fix: "use versions whose major agrees" },
  K3SP_PORT_IN_USE: { title: "port is in use", fix: "stop the other program, or choose another port" },
  K3SP_DATASTORE_CORRUPT: { title: "the database file is damaged", fix: "stop the server, move the file away and restore a copy or a dump" },
  K3SP_DATASTORE_LOCKED: { title: "the database is used by another process", fix: "stop the other server that uses this data directory" },
  K3SP_DATASTORE_NEWER: { title: "the database was written by a newer k3s-p", fix: "start that version of k3s-p again, or restore a dump into an empty data directory" },
  K3SP_DATASTORE_COMPACTED: { title: "the revision has been compacted", fix: "list again, then watch from the list's resourceVersion" },
  K3SP_DATASTORE_FAILED: { title: "the database did not take a write", fix: "see the cause (disk full, permissions)" },
  K3SP_ENCRYPTION_KEY: { title: "a stored object cannot be decrypted", fix: "put back the server/cred/encryption-config.json that holds the key" },
  K3SP_ENCRYPTION_REFUSED: { title: "the server did not change the encryption of Secrets", fix: "see k3s-p secrets-encrypt status for the stage" },
  K3SP_JOIN_UNTRUSTED: { title: "the server is not the one that the token is for", fix: "take the token of /var/lib/rancher/k3s/server/node-token on the server; if it is that one, somebody is in between" },
  K3SP_JOIN_REFUSED: { title: "the server does not let this node join", fix: "see what the server says" },
  K3SP_PROGRAM_MISSING: { title: "a program that is needed is not installed", fix: "apt-get install containerd runc containernetworking-plugins nftables iproute2 conntrack" },
  K3SP_RUNTIME_FAILED: { title: "the container runtime did not start", fix: "see its log" },
  K3SP_ROOT_REQUIRED: { title: "this must run as root", fix: "run it with sudo" },
  K3SP_KEY_UNSAFE: { title: "a private key is not private", fix: "make it a file of root's with mode 0600, and replace it if others may have read it" },
  K3SP_CERTIFICATE_INVALID: { title: "a certificate cannot be used", fix: "correct the file that is named" },
  K3SP_PERMISSION_DENIED: { title: "a file cannot be read or written", fix: "check the owner and mode of the file" },
} as const satisfies Readonly<Record<string, ErrorEntry>>;

export type ErrorCode = keyof typeof errorCatalogue;

export interface ErrorOptions {
  /** One line: who and what, without the code. */
  readonly message: string;
  /** Further lines: where, why, candidates. */
  readonly detail?: readonly string[];
  readonly fix?: string;
  readonly plugin?: string;
  readonly cause?: unknown;
}

export class K3spError extends Error {
  override readonly name = "K3spError";
  readonly code: ErrorCode;
  readonly detail: readonly string[];
  readonly fix: string;
  readonly plugin: string | undefined;

  constructor(code: ErrorCode, options: ErrorOptions) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.detail = options.detail ?? [];
    this.fix = options.fix ?? errorCatalogue[code].fix;
    this.plugin = options.plugin;
  }
}

export const k3spError = (code: ErrorCode, options: ErrorOptions): K3spError => new K3spError(code, options);

export function isK3spError(value: unknown): value is K3spError {
  return value instanceof Error && value.name === "K3spError";
}

/** The text of whatever was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** The block that a user reads: code and message, details indented, the fix last. */
export function formatError(error: K3spError): string {
  const lines = [`${error.code}  ${error.message}`, ...error.detail.map((line) => `  ${line}`)];
  const cause = error.cause instanceof Error ? error.cause.message : undefined;
  if (cause && !error.message.includes(cause)) lines.push(`  cause: ${cause}`);
  lines.push(`  fix: ${error.fix}`);
  return lines.join("\n");
}
