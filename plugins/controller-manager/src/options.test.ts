import { describe, expect, it } from "vitest";
import args from "../arguments.json" with { type: "json" };
import { checkNodeMasks, defaultTuning, flags, readOptions } from "./options.ts";

describe("readOptions", () => {
  it("has upstream's defaults", () => expect(readOptions({})).toEqual({ controllers: ["*"], tuning: defaultTuning }));

  it("reads the controller manager's own flags", () => {
    const { controllers, tuning } = readOptions({
      managerArg: [
        "controllers=*,-ttl-controller",
        "--node-monitor-grace-period=1m30s",
        "node-cidr-mask-size=26",
        "terminated-pod-gc-threshold=10",
      ],
    });
    expect(controllers).toEqual(["*", "-ttl-controller"]);
    expect(tuning).toMatchObject({ nodeMonitorGrace: 90_000, nodeCidrMask4: 26, terminatedPodThreshold: 10 });
  });

  it("knows those flags alone, and lets the others of upstream be", () => {
    expect(["controllers", ...Object.keys(flags)].sort()).toEqual(args.read);
    expect(readOptions({ managerArg: ["profiling=true"] })).toEqual(readOptions({}));
  });

  it.each([
    ["node-monitor-grace-period=soon", /"soon" is not a duration/],
  ])("refuses %s", (arg, message) => {
    expect(() => readOptions({ managerArg: [arg] })).toThrow(message);
  });
});

describe("checkNodeMasks", () => {
  it.each([["10.42.0.0/25", 4, 24, 25], ["fd00:42::/80", 6, 64, 80]])("refuses %s, where no node finds a block", (cidr, family, mask, prefix) => {
    expect(() => checkNodeMasks([cidr], defaultTuning)).toThrow(expect.objectContaining({
      code: "K3SP_CONFIG_INVALID", message: `cluster-cidr: ${cidr} is smaller than the block of a node, /${mask}`,
      fix: expect.stringContaining(`node-cidr-mask-size-ipv${family}=${prefix}`),
    }));
  });

  it("takes one block, and smaller ones when the nodes' are smaller too", () => {
    expect(() => checkNodeMasks(["10.42.0.0/24", "fd00:42::/64"], defaultTuning)).not.toThrow();
    expect(() => checkNodeMasks(["10.42.0.0/25"], { ...defaultTuning, nodeCidrMask4: 26 })).not.toThrow();
  });
});
