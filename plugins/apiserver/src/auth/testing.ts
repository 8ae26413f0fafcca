/** A cache view over plain objects, for the tests of this folder and its neighbours. */
import type { CacheView, Obj } from "../resources/types.ts";

const plurals: Readonly<Record<string, string>> = {
  NetworkPolicy: "networkpolicies", StorageClass: "storageclasses", PriorityClass: "priorityclasses",
  RuntimeClass: "runtimeclasses", IngressClass: "ingressclasses", Endpoints: "endpoints",
};

export interface TestView extends CacheView {
  add(...objects: Obj[]): void;
  remove(object: Obj): void;
}

export function testView(...objects: Obj[]): TestView {
  const all: Obj[] = [...objects];
  const groupOf = (object: Obj) => (object.apiVersion!.includes("/") ? object.apiVersion!.split("/")[0]! : "");
  const pluralOf = (object: Obj) => plurals[object.kind!] ?? `${object.kind!.toLowerCase()}s`;
  const list = (group: string, plural: string, namespace?: string) => all.filter((object) =>
    groupOf(object) === group && pluralOf(object) === plural &&
    (!namespace || object.metadata?.namespace === namespace));
  return {
    list,
    get: (group, plural, name, namespace) => list(group, plural, namespace).find((object) => object.metadata?.name === name),
    add: (...more) => void all.push(...more),
    remove: (object) => void all.splice(all.indexOf(object), 1),
  };
}

const element = (tag: number, ...parts: readonly Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.of(tag, ...(body.length < 128 ? [body.length] : [0x81, body.length])), body]);
};

/** As a CertificateSigningRequest holds it. */
export const testPem = (der: Uint8Array): string =>
  Buffer.from(`-----BEGIN CERTIFICATE REQUEST-----\n${Buffer.from(der).toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`).toString("base64");

/** A signing request as far as its subject; it has neither key nor signature. */
export function testSigningRequest({ names = [], organizations = [] }: { readonly names?: readonly string[]; readonly organizations?: readonly string[] }): string {
  const attribute = (id: string, value: string): Buffer => element(0x31, element(0x30, element(0x06, Buffer.from(id, "hex")), element(0x0c, Buffer.from(value))));
  const subject = element(0x30, ...organizations.map((value) => attribute("55040a", value)), ...names.map((value) => attribute("550403", value)));
  return testPem(element(0x30, element(0x30, element(0x02, Buffer.of(0)), subject)));
}
