import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Node } from "@k3s-p/plugin-api/kube";
import { scrapeKubelet } from "./kubelet.ts";

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;

describe.skipIf(!hasOpenssl)("reading a kubelet", () => {
  let dir: string;
  let server: Server;
  let answer: { code: number; body: string };
  let caller: string | undefined;
  const read = (name: string) => readFileSync(join(dir, name), "utf8");
  const pair = (name: string, ...more: string[]) =>
    execFileSync("openssl", [
      "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
      "-keyout", join(dir, `${name}.key`), "-out", join(dir, `${name}.crt`), ...more,
    ], { stdio: "ignore" });

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), "metrics-kubelet-"));
    pair("kubelet", "-subj", "/CN=kubelet", "-addext", "subjectAltName=IP:127.0.0.1");
    pair("client", "-subj", "/CN=system:metrics-server");
    server = createServer(
      { cert: read("kubelet.crt"), key: read("kubelet.key"), ca: read("client.crt"), requestCert: true, rejectUnauthorized: false },
      (request, response) => {
        const socket = request.socket as TLSSocket;
        caller = socket.authorized ? String(socket.getPeerCertificate().subject.CN) : undefined;
        response.writeHead(request.url === "/stats/summary" ? answer.code : 404).end(answer.body);
      },
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  afterAll(() => {
    server.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const node = (address = "127.0.0.1") =>
    ({
      metadata: { name: "n1" },
      status: {
        addresses: [{ type: "Hostname", address: "n1" }, { type: "InternalIP", address }],
        daemonEndpoints: { kubeletEndpoint: { Port: (server.address() as AddressInfo).port } },
      },
    }) as unknown as Node;
  const scrape = (ca = "kubelet") =>
    scrapeKubelet(node(), { cert: read("client.crt"), key: read("client.key"), ca: read(`${ca}.crt`) }, new AbortController().signal);
  const figures = { cpu: { time: "2026-01-01T00:00:00Z", usageCoreNanoSeconds: 5 }, memory: { workingSetBytes: 7 } };

  it("shows its certificate and takes the node's and the pods' figures", async () => {
    const containers = [{ name: "c", ...figures }];
    const unready = { podRef: { name: "new", namespace: "default" }, containers: [{ name: "c" }] };
    answer = { code: 200, body: JSON.stringify({ node: figures, pods: [{ podRef: { name: "web", namespace: "default" }, containers }, unready] }) };
    const reading = await scrape();
    expect(caller).toBe("system:metrics-server");
    expect(reading.node).toEqual({ time: Date.parse("2026-01-01T00:00:00Z"), coreNanoSeconds: 5, workingSetBytes: 7 });
    expect([...reading.pods.keys()]).toEqual(["default/web"]);
  });

  it("says what the kubelet answered", async () => {
    answer = { code: 403, body: "Forbidden (user=system:metrics-server)" };
    await expect(scrape()).rejects.toThrow("the kubelet answered 403: Forbidden (user=system:metrics-server)");
  });

  it("does not trust a kubelet of another cluster", async () => {
    answer = { code: 200, body: "{}" };
    await expect(scrape("client")).rejects.toThrow(/self-signed|unable to verify/);
  });
});
