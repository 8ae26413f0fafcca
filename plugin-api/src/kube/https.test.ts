import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { KubeClient } from "./client.ts";
import { isNotFound } from "./errors.ts";
import { createHttpsClient } from "./https.ts";
import { configMaps } from "./resources.ts";

let folder: string;
let cert: string;
let key: string;
let server: Server | undefined;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "k3sp-https-"));
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"], { cwd: folder, stdio: "pipe" });
  [cert, key] = ["cert.pem", "key.pem"].map((name) => readFileSync(join(folder, name), "utf8")) as [string, string];
});
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A client of a server that gives these answers, one after another, and the last for ever. */
async function clientOf(...answers: readonly ((res: ServerResponse) => void)[]): Promise<{ readonly kube: KubeClient; readonly seen: string[] }> {
  const seen: string[] = [];
  server = createServer({ cert, key }, (req: IncomingMessage, res) => {
    seen.push(`${req.method} ${req.url}`);
    answers[Math.min(seen.length, answers.length) - 1]!(res);
  });
  await new Promise<void>((resolve) => server!.listen(0, "127.0.0.1", resolve));
  return { kube: createHttpsClient({ url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, ca: cert, token: "t" }), seen };
}

const busy = (code: number) => (res: ServerResponse) => void res.writeHead(code, { "retry-after": "0" }).end("later");
const found = (res: ServerResponse) => void res.writeHead(200, { "content-type": "application/json" }).end('{"metadata":{"name":"a"}}');

describe("the client over HTTPS", () => {
  test("comes again when the server is too busy, as often as it says so", async () => {
    const { kube, seen } = await clientOf(busy(429), busy(503), found);
    expect((await kube.get(configMaps, "a", "default")).metadata.name).toBe("a");
    expect(seen).toEqual(Array.from({ length: 3 }, () => "GET /api/v1/namespaces/default/configmaps/a"));
  });

  test("gives up in the end", async () => {
    const { kube, seen } = await clientOf(busy(429));
    await expect(kube.get(configMaps, "a", "default")).rejects.toMatchObject({ code: 429, message: "later" });
    expect(seen).toHaveLength(11);
  });

  test("does not wait for what will not change", async () => {
    const { kube, seen } = await clientOf((res) => void res.writeHead(404, { "retry-after": "0" }).end("404 page not found\n"));
    const error: unknown = await kube.get(configMaps, "a", "default").catch((thrown: unknown) => thrown);
    expect([isNotFound(error), (error as Error).message, seen.length]).toEqual([true, "404 page not found", 1]);
  });
});
