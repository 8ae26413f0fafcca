import { describe, expect, it } from "vitest";
import { defaultTuning, readOptions } from "./options.ts";

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

  it.each([
    ["profiling=true", /"profiling" is not supported/],
    ["node-monitor-grace-period=soon", /"soon" is not a duration/],
  ])("refuses %s", (arg, message) => {
    expect(() => readOptions({ managerArg: [arg] })).toThrow(message);
  });
});
