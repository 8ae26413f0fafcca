import { expect, test } from "vitest";
import { fakeKube } from "./fake.ts";
import { remoteInformer } from "./remote-informer.ts";
import { nodes } from "./resources.ts";

test("finds objects by an index, and refuses one that it was not made with", async () => {
  const kube = fakeKube();
  kube.put(nodes, { metadata: { name: "a", labels: { zone: "x" } } });
  kube.put(nodes, { metadata: { name: "b", labels: { zone: "y" } } });
  const informer = remoteInformer(kube, nodes, { indexes: { zone: (node) => [node.metadata.labels!["zone"]!] } });
  await informer.synced;
  expect(informer.byIndex("zone", "y").map((node) => node.metadata.name)).toEqual(["b"]);
  expect(() => informer.byIndex("zoen", "y")).toThrow('the informer of nodes has no index "zoen"; it was made with zone');
  informer.stop();
});
