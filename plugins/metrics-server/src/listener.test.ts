import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { listen, type Listener } from "./listener.ts";

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;

describe.skipIf(!hasOpenssl)("the listener", () => {
  let dir: string;
  let listener: Listener;
  const file = (name: string) => join(dir, name);
  const read = (name: string) => readFileSync(file(name), "utf8");
  const openssl = (...args: string[]) => execFileSync("openssl", args, { stdio: "ignore" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const ca = (name: string) => openssl("req", "-x509", ...key, "-keyout", file(`${name}.key`), "-out", file(`${name}.crt`), "-subj", `/CN=${name}`);
  const leaf = (name: string, cn: string, by: string) => {
    openssl("req", ...key, "-keyout", file(`${name}.key`), "-out", file(`${name}.csr`), "-subj", `/CN=${cn}`);
    openssl("x509", "-req", "-in", file(`${name}.csr`), "-CA", file(`${by}.crt`), "-CAkey", file(`${by}.key`), "-CAcreateserial", "-out", file(`${name}.crt`));
  };

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), "metrics-listener-"));
    for (const name of ["request-header", "other"]) ca(name);
    leaf("proxy", "system:auth-proxy", "request-header");
    leaf("stranger", "somebody", "request-header");
    leaf("impostor", "system:auth-proxy", "other");
    listener = await listen({
      api: { answer: async () => ({ hello: "proxy" }) }, log: silentLogger, host: "127.0.0.1",
      cert: read("other.crt"), key: read("other.key"), requestHeaderCa: read("request-header.crt"), allowedNames: ["system:auth-proxy"],
    });
  });
  afterAll(async () => {
    await listener?.close();
    rmSync(dir, { recursive: true, force: true });
  });

  function ask(path: string, client?: string, headers: Record<string, string> = { "x-remote-user": "jane" }): Promise<[number, string]> {
    const { promise, resolve, reject } = Promise.withResolvers<[number, string]>();
    const identity = client ? { cert: read(`${client}.crt`), key: read(`${client}.key`) } : {};
    const options = { host: "127.0.0.1", port: listener.port, path, headers, agent: false as const, rejectUnauthorized: false, ...identity };
    request(options, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += chunk)).on("end", () => resolve([response.statusCode!, text]));
    }).on("error", reject).end();
    return promise;
  }

  it("answers the front proxy", async () => {
    expect(await ask("/apis", "proxy")).toEqual([200, '{"hello":"proxy"}']);
  });
  it.each([
    ["nobody", undefined, undefined], ["another name under the same CA", "stranger", undefined],
    ["the right name under another CA", "impostor", undefined], ["a proxy that names no user", "proxy", {}],
  ])("refuses %s", async (_name, client, headers) => {
    const [code, body] = await ask("/apis", client, headers);
    expect([code, JSON.parse(body).reason]).toEqual([401, "Unauthorized"]);
  });
  it("tells everybody that it lives", async () => {
    expect(await ask("/readyz")).toEqual([200, "ok"]);
  });
});
