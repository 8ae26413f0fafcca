import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { certificate } from "./conformance/certificate.fixture.ts";
import { caHash, certificatesOf, formatJoinToken, parseJoinToken } from "./join-token.ts";

test("a single CA is hashed as the text of its file, a chain by its root", () => {
  expect(caHash(certificate)).toBe(createHash("sha256").update(certificate).digest("hex"));
  const root = certificatesOf(certificate)[0]!;
  expect(caHash(`${certificate}${certificate}`)).toBe(createHash("sha256").update(root.raw).digest("hex"));
});

test.each([
  ["full", "server:p:w", { user: "server", password: "p:w" }],
  ["bootstrap", "abcdef.0123456789abcdef", { user: "", password: "abcdef.0123456789abcdef" }],
])("a %s token is read back", (_, credentials, parts) => {
  expect(parseJoinToken(formatJoinToken(certificate, credentials))).toEqual({ ...parts, caHash: caHash(certificate) });
  expect(parseJoinToken(credentials)).toEqual(parts);
});
