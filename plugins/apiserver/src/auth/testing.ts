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
