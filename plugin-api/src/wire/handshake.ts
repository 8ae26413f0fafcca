/** The one line that an `rpc` plugin prints when it listens: `k3sp|<wire>|<contract>|unix|<path>|grpc`. */

/** Versions of the wire protocol that this host speaks. */
export const wireVersions: readonly number[] = [1];

export interface Handshake {
  readonly wire: number;
  /** Version of the slot's contract, `1.0`. */
  readonly contract: string;
  readonly path: string;
}

/** Undefined = the line is no handshake; a string says what is wrong with it. */
export function parseHandshake(line: string): Handshake | string | undefined {
  const [word, wire, contract = "", network, path = "", protocol] = line.trim().split("|");
  if (word !== "k3sp") return undefined;
  if (!wireVersions.includes(Number(wire))) return `it speaks wire version ${wire}, and this host ${wireVersions.join(", ")}`;
  if (!/^\d+\.\d+$/.test(contract)) return `"${contract}" is not a contract version such as "1.0"`;
  if (network !== "unix" || !path.startsWith("/")) return `"${network}|${path}" is not a unix socket with an absolute path`;
  if (protocol !== "grpc") return `the protocol "${protocol}" is not grpc`;
  return { wire: Number(wire), contract, path };
}
