import { expect, test } from "vitest";
import type { Manifest } from "../kernel/manifest.ts";
import { checkAttach } from "./attach.ts";

const plugin = (id: string, isolation: Manifest["isolation"]): Manifest => ({ id, isolation }) as Manifest;

test.each([
  ["nobody", "--attach nobody: no plugin of that name is loaded", "name one of far"],
  ["near", '--attach near: it does not run in a Node process of its own, but in the mode "inline"', "start the server itself with NODE_OPTIONS=--inspect"],
  ["go", '--attach go: it does not run in a Node process of its own, but in the mode "rpc"', "attach a debugger for its language to the process that k3s-p plugin list names"],
])("--attach %s says what to do instead", (name, message, fix) => {
  const plugins = [plugin("near", "inline"), plugin("far", "process"), plugin("go", "rpc")];
  expect(() => checkAttach(["far"], plugins)).not.toThrow();
  expect(() => checkAttach(["far", name], plugins)).toThrow(expect.objectContaining({ code: "K3SP_FLAG_INVALID", message, fix }));
});
