/** The row of discovery.k8s.io: EndpointSlices. */
import type { Behaviour } from "../row.ts";
import { rowsOf } from "../row.ts";
import { ageColumn, nameColumn, text } from "../columns.ts";
import { ensure, fill, items, same } from "../fields.ts";
import { warnOfAddress } from "../core/warn-address.ts";
import { firstThree } from "../human.ts";
import type { Column, Obj, ResourceDef } from "../types.ts";
import { validateEndpointSlice, validateEndpointSliceUpdate } from "./validate.ts";

const columns: readonly Column[] = [
  nameColumn,
  text("AddressType", "Kind of the addresses.", (o) => o.addressType ?? ""),
  text("Ports", "Ports of the endpoints.", (o) =>
    firstThree((o.ports ?? []).map((p: Obj) => String(p.port ?? p.name ?? "*")), "<unset>")),
  text("Endpoints", "Addresses of the endpoints.", (o) =>
    firstThree((o.endpoints ?? []).flatMap((e: Obj): string[] => e.addresses ?? []), "<unset>")),
  ageColumn,
];

function applyDefaults(slice: Obj): void {
  fill(slice, { endpoints: [] });
  for (const port of items(slice, "ports")) fill(port, { name: "", protocol: "TCP" });
  for (const endpoint of items(slice, "endpoints")) ensure(endpoint, "conditions");
}

/** Nobody writes in v1 what v1beta1 had instead of zones; what there is stays until the endpoints change. */
function dropTopology(slice: Obj, old?: Obj): void {
  if (old && same(slice.endpoints, old.endpoints)) return;
  for (const endpoint of items(slice, "endpoints")) delete endpoint.deprecatedTopology;
}

const endpointSlice: Behaviour = {
  columns,
  defaults: applyDefaults,
  prepareCreate: (slice) => dropTopology(slice),
  prepareUpdate: dropTopology,
  validate: validateEndpointSlice,
  validateUpdate: validateEndpointSliceUpdate,
  warnings: (slice) => items(slice, "endpoints").flatMap(({ addresses }, i) => ((addresses ?? []) as string[]).flatMap((ip, j) => warnOfAddress(`endpoints[${i}].addresses[${j}]`, ip))),
  generationOf: ({ metadata, addressType, endpoints, ports }) => ({ labels: metadata?.labels, addressType, endpoints, ports }),
};

export const discoveryResources: readonly ResourceDef[] = [rowsOf("discovery.k8s.io", "v1")("EndpointSlice", "endpointslices", {}, endpointSlice)];
