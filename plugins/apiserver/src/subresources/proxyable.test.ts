import { expect, it } from "vitest";
import { isProxyable, isProxyableIp } from "./proxyable.ts";

it.each(["10.42.0.5", "192.168.1.1", "8.8.8.8", "2001:db8::1", "fd00::1", "169.253.0.1", "::ffff:10.0.0.1"])("%s may be reached", (address) => {
  expect(isProxyableIp(address)).toBe(true);
});
it.each(["127.0.0.1", "127.255.0.3", "0.0.0.0", "169.254.169.254", "169.254.0.1", "224.0.0.1", "::1", "::", "fe80::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1"])("%s may not", (address) => {
  expect(isProxyableIp(address)).toBe(false);
});
it("a name is judged by what it leads to", async () => {
  expect(await isProxyable("localhost")).toBe(false);
  expect(await isProxyable("no-such-name.invalid")).toBe(false);
});
