import { expect, test } from "vitest";
import { revisionData } from "./history.ts";

const template = {
  metadata: { labels: { b: "2", a: "1" } },
  spec: { dnsPolicy: "ClusterFirst", containers: [{ name: "app", image: "x" }], initContainers: [{ name: "init", resources: { limits: { cpu: "1" } } }] },
} as any;
const containers = '"containers":[{"image":"x","name":"app","resources":{}}],"dnsPolicy":"ClusterFirst","initContainers":[{"name":"init","resources":{"limits":{"cpu":"1"}}}]';

test("a revision is the text that kubectl makes of the template", () => {
  expect(JSON.stringify(revisionData(template, false)))
    .toBe(`{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"a":"1","b":"2"}},"spec":{${containers}}}}}`);
});

test("clients from before 1.34 write times that are not set", () => {
  expect(JSON.stringify(revisionData(template, true)))
    .toBe(`{"spec":{"template":{"$patch":"replace","metadata":{"creationTimestamp":null,"labels":{"a":"1","b":"2"}},"spec":{${containers}}}}}`);
});
