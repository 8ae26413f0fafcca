/** Self-signed certificates for tests, made by the openssl program. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export function certificate(commonName: string, names: readonly string[]): { readonly cert: string; readonly key: string } {
  const dir = mkdtempSync(join(tmpdir(), "certificate-"));
  const [cert, key] = [join(dir, "cert.pem"), join(dir, "key.pem")];
  try {
    execFileSync("openssl", [
      "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", `/CN=${commonName}`,
      "-addext", `subjectAltName=${names.map((name) => `DNS:${name}`).join(",")}`, "-keyout", key, "-out", cert,
    ], { stdio: "ignore" });
    return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
