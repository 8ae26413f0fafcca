/** Which pod has which address: one file an address, so that a restart of the plugin forgets nothing and a reboot all. */
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { addressAt, type Cidr } from "@k3s-p/plugin-api";

export interface Leases {
  /** The first free address; taken again by the same owner it is the same one. */
  take(owner: string): string;
  of(owner: string): string | undefined;
  owners(): readonly string[];
  release(owner: string): void;
}

/** The range's first address is the network itself, the second the gateway, the last the broadcast. */
export function openLeases(dir: string, range: Cidr): Leases {
  mkdirSync(dir, { recursive: true });
  const owners = new Map(readdirSync(dir).map((address) => [address, readFileSync(join(dir, address), "utf8")]));
  const size = 2 ** (32 - range.prefix);

  function* free(): Generator<string> {
    for (let i = 2; i < size - 1; i++) if (!owners.has(addressAt(range, i))) yield addressAt(range, i);
  }

  const of = (owner: string) => [...owners].find(([, other]) => other === owner)?.[0];

  return {
    of,
    owners: () => [...owners.values()],
    take(owner) {
      const address = of(owner) ?? free().next().value;
      if (!address) throw new Error(`all ${size - 3} addresses are taken`);
      owners.set(address, owner);
      writeFileSync(join(dir, address), owner);
      return address;
    },
    release(owner) {
      const address = of(owner);
      if (!address) return;
      owners.delete(address);
      rmSync(join(dir, address), { force: true });
    },
  };
}
