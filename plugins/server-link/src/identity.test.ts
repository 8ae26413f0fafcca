import { testNode } from "@k3s-p/plugin-api/testing";
import { pluginAccount, type UserInfo } from "@k3s-p/plugin-api/slots";
import { expect, test } from "vitest";
import { certificateOf } from "./identity.ts";

const node = testNode("/x", { name: "node2" });
const of = (name: string, ...groups: readonly string[]): UserInfo => ({ name, groups: [...groups, "system:authenticated"] });
const account = pluginAccount("kube-proxy").user;
const accounts = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];

test("the node has K3s's certificate of kubelets", () => {
  expect(certificateOf(of("system:node:node2", "system:nodes"), node)).toEqual({
    name: "client-kubelet", ca: "client-ca", commonName: "system:node:node2", organizations: ["system:nodes"], usage: "client", dir: node.paths.agent,
  });
});

test("a plugin has one of its account, which says on which node it runs", () => {
  expect(certificateOf(of(account, ...accounts), node)).toMatchObject({ name: "client-kube-proxy", commonName: account, organizations: [...accounts, "k3sp:node:node2"] });
});

test.each<[string, UserInfo, RegExp]>([
  ["a plugin that asks for all rights", of(account, "system:masters", ...accounts), /k3s-p-kube-proxy: on an agent no plugin can have all rights/],
  ["another node", of("system:node:node1", "system:nodes"), /system:node:node1: an agent acts as its node \(system:node:node2\)/],
  ["a node whose name goes on", of("system:node:node22", "system:nodes"), /acts as its node/],
  ["somebody else's account", of("system:serviceaccount:default:k3s-p-x", ...accounts), /acts as its node/],
])("%s is refused", (_, user, message) => {
  expect(() => certificateOf(user, node)).toThrow(expect.objectContaining({ code: "K3SP_PERMISSION_DENIED", message: expect.stringMatching(message) }));
});
