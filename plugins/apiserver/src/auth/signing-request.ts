/** The subject that a certificate signing request asks for, read as X.509 writes it (RFC 2986, DER). */
export interface RequestedSubject {
  readonly commonNames: readonly string[];
  readonly organizations: readonly string[];
}

interface Element {
  readonly tag: number;
  readonly body: Buffer;
}

const [INTEGER, OBJECT_ID, SEQUENCE, SET] = [0x02, 0x06, 0x30, 0x31];
/** 2.5.4.3 and 2.5.4.10 */
const [COMMON_NAME, ORGANIZATION] = ["550403", "55040a"];

/** `request` is that of a CertificateSigningRequest: base64 of PEM. Throws when it cannot be read; its signature is not checked. */
export function requestedSubject(request: string): RequestedSubject {
  const pem = Buffer.from(request, "base64").toString("latin1");
  const body = /-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([^-]*)-----END/.exec(pem)?.[1];
  if (body === undefined) throw new Error("PEM block type must be CERTIFICATE REQUEST");
  const [outer] = elements(Buffer.from(body, "base64"));
  const [info] = inside(outer, SEQUENCE);
  const [version, name] = inside(info, SEQUENCE);
  inside(version, INTEGER, false);
  const attributes = inside(name, SEQUENCE).flatMap((set) => inside(set, SET)).map((pair) => inside(pair, SEQUENCE));
  const values = (id: string): string[] => attributes.filter(([type]) => type?.tag === OBJECT_ID && type.body.toString("hex") === id).map(([, value]) => textOf(value));
  return { commonNames: values(COMMON_NAME), organizations: values(ORGANIZATION) };
}

function inside(element: Element | undefined, tag: number, isConstructed = true): Element[] {
  if (element?.tag !== tag) throw malformed();
  return isConstructed ? elements(element.body) : [];
}

function elements(der: Buffer): Element[] {
  const found: Element[] = [];
  for (let at = 0; at < der.length;) {
    const { offset, length } = lengthAt(der, at + 1);
    if (offset + length > der.length) throw malformed();
    found.push({ tag: der[at]!, body: der.subarray(offset, offset + length) });
    at = offset + length;
  }
  return found;
}

function lengthAt(der: Buffer, at: number): { readonly offset: number; readonly length: number } {
  const first = der[at] ?? 0x80;
  if (first < 0x80) return { offset: at + 1, length: first };
  const size = first & 0x7f;
  if (size === 0 || size > 4 || at + 1 + size > der.length) throw malformed();
  return { offset: at + 1 + size, length: der.readUIntBE(at + 1, size) };
}

/** Names of two and four bytes a letter spell the same name; they are no way around a rule. */
const textOf = (value: Element | undefined): string => (value?.body.filter((byte) => byte !== 0) as Buffer | undefined)?.toString() ?? "";

const malformed = (): Error => new Error("asn1: structure error: it is no certificate request");
