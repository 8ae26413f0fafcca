import { expect, test } from "vitest";
import { addressAt, cidrContains, formatCidr, intToIp, ipToInt, parseCidr, subnetAt } from "./net.ts";

test.each(["10.42.0.1", "255.255.255.255", "::1", "fd00::2", "2001:db8::1:0:0:1", "::"])("%s survives the round trip", (ip) => {
  expect(intToIp(ipToInt(ip), ip.includes(":") ? 6 : 4)).toBe(ip);
});

test("blocks: base, addresses, subnets", () => {
  const block = parseCidr("10.42.3.9/16")!;
  expect([formatCidr(block), addressAt(block, 10), formatCidr(subnetAt(block, 24, 5))]).toEqual(["10.42.0.0/16", "10.42.0.10", "10.42.5.0/24"]);
  expect([cidrContains(block, "10.42.255.1"), cidrContains(block, "10.43.0.1"), cidrContains(block, "::1")]).toEqual([true, false, false]);
  expect(addressAt(parseCidr("fd00:10::/112")!, 10)).toBe("fd00:10::a");
});

test.each(["10.42.0.0", "10.42.0.0/33", "x/8", "1.2.3/8", ""])("%j is not a block", (text) => expect(parseCidr(text)).toBeUndefined());

test("an IPv6 address may end as IPv4", () => {
  expect(ipToInt("::ffff:10.0.0.1")).toBe(ipToInt("::ffff:a00:1"));
  expect(parseCidr("64:ff9b::10.0.0.0/104")).toEqual(parseCidr("64:ff9b::a00:0/104"));
});

test.each(["fd00:0:0:1::1", "fd00::1:0:0:1:1", "::1:0:0:1:1:1", "2001:db8::1:0:0:1", "::", "::1", "1::", "fd00:0:1:2:3:4:5:6"])("%s is written as RFC 5952 says", (ip) => expect(intToIp(ipToInt(ip), 6)).toBe(ip));
