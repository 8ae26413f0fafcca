/** Turns manifests into a plan: one provider a slot, an order of start, and every reason why something is left out. */
import { semver } from "../semver.ts";
import { K3spError, k3spError, type Role } from "@k3s-p/plugin-api";
import { kernelSlots, slotCatalogue } from "@k3s-p/plugin-api/slots";
import { startOrder } from "./graph.ts";
import type { Manifest } from "./manifest.ts";

export interface ResolveInput {
  readonly manifests: readonly Manifest[];
  readonly role: Role;
  /** A server that also runs pods has both roles. */
  readonly roles: readonly Role[];
  /** Plugin ids, with the setting that disabled each. */
  readonly disabled: ReadonlyMap<string, string>;
  /** Explicit choices: slot -> plugin id or `none`. */
  readonly slots: ReadonlyMap<string, string>;
}

export interface Choice {
  readonly slot: string;
  readonly plugin: string;
  readonly version: string;
  /** Id of the default provider that this one takes the place of. */
  readonly replaces?: string;
}

export interface Plan {
  /** In an order in which providers come before those that need them. */
  readonly plugins: readonly Manifest[];
  readonly choices: readonly Choice[];
  /** Plugin -> the plugins that must be ready before it starts. */
  readonly edges: ReadonlyMap<string, readonly string[]>;
  /** Known plugins that the plan does not start. */
  readonly spare: readonly Manifest[];
  readonly leftOut: readonly { readonly plugin: string; readonly why: string }[];
}

const slotById = new Map(slotCatalogue.map((slot) => [slot.id, slot]));
/** The slot that really has a provider: `kube` is a view of `apiserver`. */
export const sourceSlot = (id: string): string => slotById.get(id)?.derive?.from ?? id;

export function resolvePlan(input: ResolveInput): Plan {
  rejectDuplicates(input.manifests);
  const leftOut: { plugin: string; why: string }[] = [];
  const disabled = withDependants(input);
  const candidates = input.manifests.filter((m) => {
    const why = disabled.get(m.id) ?? (m.roles.some((r) => input.roles.includes(r)) ? undefined : `not for the role ${input.role}`);
    if (why) leftOut.push({ plugin: m.id, why });
    return !why;
  });
  const providers = chooseProviders(candidates, input, leftOut);
  const chosen = candidates.filter((m) => Object.keys(m.provides).every((slot) => providers.get(slot) === m));
  checkRequired(providers, input);
  checkContracts(chosen, providers, input);
  const edges = new Map(chosen.map((m) => [m.id, edgesOf(m, providers)]));
  const order = startOrder(edges);
  const byId = new Map(chosen.map((m) => [m.id, m]));
  return {
    plugins: order.map((id) => byId.get(id)!),
    choices: choicesOf(providers, input.manifests),
    edges,
    spare: input.manifests.filter((m) => !byId.has(m.id)),
    leftOut: leftOut.sort((a, b) => a.plugin.localeCompare(b.plugin)),
  };
}

/** A default plugin goes with what it needs when the user disables that; one that the user named is an error instead. */
function withDependants({ manifests, disabled, role }: ResolveInput): ReadonlyMap<string, string> {
  const all = new Map(disabled);
  const offers = (slot: string) => manifests.filter((m) => slot in m.provides);
  const isGone = (slot: string) => offers(slot).length > 0 && offers(slot).every((m) => all.has(m.id)) && !slotById.get(slot)!.required.includes(role);
  for (let size = -1; size !== all.size; ) {
    size = all.size;
    for (const m of manifests.filter((other) => !all.has(other.id) && other.source.kind === "default")) {
      const slot = Object.keys(m.needs).map(sourceSlot).find(isGone);
      if (slot) all.set(m.id, `needs the slot ${slot}, and ${offers(slot).map((o) => o.id).join(", ")} is disabled`);
    }
  }
  return all;
}

function rejectDuplicates(manifests: readonly Manifest[]): void {
  const seen = new Map<string, Manifest>();
  for (const m of manifests) {
    const other = seen.get(m.id);
    if (other) {
      throw k3spError("K3SP_PLUGIN_NAME_CONFLICT", {
        message: `two plugins are named "${m.id}"`,
        detail: [describe(other), describe(m)],
        fix: m.source.kind === "user" && other.source.kind === "default" ? `give ${m.source.path} another name, or --disable ${m.id}` : "rename one of them, or load only one",
      });
    }
    seen.set(m.id, m);
  }
}

const describe = (m: Manifest): string => `${m.id} ${m.version}`.padEnd(22) + `  from ${m.source.label}`;

/** Precedence of a slot: explicit choice, then a plugin that the user named, then the default. */
function chooseProviders(candidates: readonly Manifest[], input: ResolveInput, leftOut: { plugin: string; why: string }[]): Map<string, Manifest> {
  const providers = new Map<string, Manifest>();
  for (const slot of [...slotById.keys()].sort()) {
    const offers = candidates.filter((m) => slot in m.provides);
    const wanted = input.slots.get(slot);
    const winner = wanted === undefined ? byPrecedence(slot, offers) : explicit(slot, wanted, offers, input);
    for (const m of offers) {
      if (m === winner) continue;
      leftOut.push({ plugin: m.id, why: winner ? `replaced by ${winner.id} for the slot ${slot}` : `the slot ${slot} is set to none` });
    }
    if (winner) providers.set(slot, winner);
  }
  return providers;
}

function byPrecedence(slot: string, offers: readonly Manifest[]): Manifest | undefined {
  const users = offers.filter((m) => m.source.kind === "user");
  const pool = users.length ? users : offers;
  if (pool.length > 1) {
    throw k3spError("K3SP_SLOT_CONFLICT", {
      message: `two plugins want the slot "${slot}"`,
      detail: pool.map(describe),
      fix: `choose one with  --slot ${slot}=${pool[0]!.id}`,
    });
  }
  return pool[0];
}

function explicit(slot: string, wanted: string, offers: readonly Manifest[], input: ResolveInput): Manifest | undefined {
  if (wanted === "none") return undefined;
  const found = offers.find((m) => m.id === wanted);
  if (found) return found;
  const disabled = input.disabled.get(wanted);
  throw k3spError("K3SP_SLOT_MISSING", {
    message: `the slot "${slot}" is set to "${wanted}", which ${disabled ? `is disabled (${disabled})` : "does not provide it"}`,
    detail: [`plugins that provide "${slot}": ${offers.map((m) => m.id).sort().join(", ") || "none"}`],
    fix: `choose one of them with --slot ${slot}=NAME, or load yours with --plugin PATH`,
  });
}

function checkRequired(providers: ReadonlyMap<string, Manifest>, input: ResolveInput): void {
  for (const slot of slotCatalogue) {
    if (!slot.required.includes(input.role) || slot.derive || providers.has(slot.id)) continue;
    throw missing(slot.id, `the role "${input.role}" cannot run without the slot "${slot.id}"`, input);
  }
}

function missing(slot: string, message: string, input: ResolveInput): K3spError {
  const candidates = input.manifests.filter((m) => slot in m.provides);
  const off = candidates.filter((m) => input.disabled.has(m.id));
  return k3spError("K3SP_SLOT_MISSING", {
    message,
    detail: [
      `plugins that provide "${slot}": ${candidates.map((m) => m.id).sort().join(", ") || "none"}`,
      ...off.map((m) => `${m.id} is disabled (${input.disabled.get(m.id)})`),
    ],
    fix: off.length ? `do not disable ${off.map((m) => m.id).join(", ")}, or give another provider with --plugin PATH` : "give a provider with --plugin PATH",
  });
}

function checkContracts(chosen: readonly Manifest[], providers: ReadonlyMap<string, Manifest>, input: ResolveInput): void {
  for (const m of chosen) {
    for (const [slot, version] of Object.entries(m.provides)) {
      const contract = slotById.get(slot)!.contract;
      if (version.split(".")[0] !== contract.split(".")[0]) throw versionError(m, `provides ${slot} ${version}`, `this host's contract is ${slot} ${contract}`);
    }
    for (const [slot, range] of Object.entries(m.needs)) {
      const source = sourceSlot(slot);
      if (!kernelSlots.includes(slot) && !providers.has(source)) {
        throw missing(source, `${m.id} needs the slot "${slot}"${slot === source ? "" : ` (from "${source}")`}, and nothing provides it`, input);
      }
      checkRange(m, slot, range, providers.get(source));
    }
    for (const [slot, range] of Object.entries(m.wants)) checkRange(m, slot, range, providers.get(sourceSlot(slot)));
  }
}

function checkRange(m: Manifest, slot: string, range: string, provider: Manifest | undefined): void {
  const derived = sourceSlot(slot) !== slot;
  const version = !derived && provider ? provider.provides[slot]! : slotById.get(slot)!.contract;
  if (semver.satisfies(`${version}.0`, range)) return;
  throw versionError(m, `needs ${slot} ${range}`, `${provider && !derived ? `${provider.id} provides` : "this host has"} ${slot} ${version}`);
}

const versionError = (m: Manifest, what: string, but: string): K3spError =>
  k3spError("K3SP_DEPENDENCY_VERSION", { message: `${m.id} ${m.version} ${what}, but ${but}`, detail: [describe(m)] });

function edgesOf(m: Manifest, providers: ReadonlyMap<string, Manifest>): readonly string[] {
  const slots = [...Object.keys(m.needs), ...Object.keys(m.wants)].map(sourceSlot);
  const ids = slots.map((slot) => providers.get(slot)?.id).filter((id): id is string => id !== undefined && id !== m.id);
  return [...new Set(ids)].sort();
}

function choicesOf(providers: ReadonlyMap<string, Manifest>, all: readonly Manifest[]): Choice[] {
  return [...providers].map(([slot, m]) => {
    const usual = all.find((o) => o.source.kind === "default" && slot in o.provides);
    const replaces = usual && usual !== m ? usual.id : undefined;
    return { slot, plugin: m.id, version: m.version, ...(replaces && { replaces }) };
  });
}
