/**
 * Typed tokens for what plugins provide and contribute to.
 *
 * A slot is a contract with exactly one active provider; a point is a contract with many contributors.
 * Tokens are plain branded objects: two copies of this package interoperate, so never use `instanceof`.
 */

declare const contractType: unique symbol;

export type Role = "server" | "agent";

export interface Slot<T> {
  readonly kind: "slot";
  readonly id: string;
  /** Contract version `major.minor`: a minor adds optional members, a major breaks. */
  readonly contract: string;
  /** Whether a role cannot run without a provider. */
  readonly required: readonly Role[];
  /** The provider's state lives on in its users: it cannot be swapped or restarted while the server runs. */
  readonly fixed: boolean;
  readonly derive?: Derivation<T>;
  /** Phantom: carries the type, never has a value. */
  readonly [contractType]?: T;
}

/**
 * A derived slot has no provider of its own: each plugin that needs it gets a view of another slot's
 * implementation made for that plugin (the `kube` client, for example, acts under the plugin's own identity).
 */
export interface Derivation<T> {
  readonly from: string;
  // The source implementation is typed by the slot that `from` names; the one place where it is erased.
  readonly view: (source: any, plugin: PluginIdentity, refs: any) => T;
  /** For plugins in a process of their own: what `connect` needs there, as plain data. */
  readonly link?: (source: any, plugin: PluginIdentity, refs: any) => Promise<unknown>;
  readonly connect?: (connection: any, onError: (what: string, error: Error) => void) => Promise<T>;
}

export interface PluginIdentity {
  readonly id: string;
  /** Its manifest asks for all rights on the API server. */
  readonly admin: boolean;
  /** Its manifest asks to act as the node that it runs on, as kubelets do. */
  readonly asNode?: boolean;
}

export interface Point<T> {
  readonly kind: "point";
  readonly id: string;
  readonly contract: string;
  readonly [contractType]?: T;
}

export type Contract<T> = Slot<T> | Point<T>;
export type ImplOf<C> = C extends Contract<infer T> ? T : never;

export interface SlotOptions<T> {
  readonly contract?: string;
  readonly required?: readonly Role[];
  readonly fixed?: boolean;
  readonly derive?: Derivation<T>;
}

export function defineSlot<T>(id: string, options: SlotOptions<T> = {}): Slot<T> {
  const { contract = "1.0", required = [], fixed = false, derive } = options;
  return Object.freeze({ kind: "slot", id, contract, required, fixed, ...(derive && { derive }) } as const);
}

export function definePoint<T>(id: string, contract = "1.0"): Point<T> {
  return Object.freeze({ kind: "point", id, contract } as const);
}
