import { X509Certificate, createPrivateKey } from "node:crypto";
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { LeafRequest, Pki } from "@k3s-p/plugin-api/slots";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { SupervisorClient } from "../agent/supervisor-client.ts";
import { createAgentPki } from "./agent-pki.ts";
import { createPki } from "./pki.ts";
import { sansOf } from "./x509.ts";

const DAY = 86_400_000;
const client: LeafRequest = { name: "client-kubelet", ca: "client-ca", commonName: "system:node:node2", organizations: ["system:nodes"], usage: "client" };
const serving: LeafRequest = { name: "serving-kubelet", ca: "server-ca", commonName: "node2", usage: "server", sans: ["node2", "localhost", "127.0.0.1", "192.0.2.7"] };

let dir: string;
let folder: string;
let now: Date;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "agent-pki-"));
  folder = join(dir, "agent");
  now = new Date();
});
afterEach(() => rmSync(dir, { recursive: true }));

/** A server that certifies what its table says, and notes what it was asked. */
function supervisorOf(server: Pki = createPki(join(dir, "tls"), { now: () => now })) {
  const asked: string[] = [];
  const state = {
    failure: undefined as Error | undefined,
    subjects: { "client-kubelet": client, "serving-kubelet": { ...serving, sans: ["node2", "localhost", "127.0.0.1"] } } as Record<string, LeafRequest>,
  };
  const answer = async (what: string, text: () => string | Promise<string>) => {
    asked.push(what);
    if (state.failure) throw state.failure;
    return text();
  };
  const supervisor: SupervisorClient = {
    url: "https://192.0.2.1:6443", ca: server.ca("server-ca").cert,
    get: (path) => answer(`GET ${path}`, () => server.ca(basename(path, ".crt") as "client-ca").cert),
    certificate: (name, csr, ips = []) => answer([name, ...ips].join(" "), () => {
      const subject = state.subjects[name]!;
      return server.certify(csr, { ...subject, sans: [...(subject.sans ?? []), ...ips] });
    }),
  };
  return { asked, state, supervisor };
}

describe("the keys of an agent", () => {
  test("are made here and certified there, with K3s's names, for the owner only", async () => {
    const { supervisor, asked } = supervisorOf();
    const pki = await createAgentPki({ folder, supervisor });
    const pair = await pki.issue({ ...client, dir: join(dir, "elsewhere") });
    const { cert } = await pki.issue(serving);
    expect(asked.sort()).toEqual(["GET /v1-k3s/client-ca.crt", "GET /v1-k3s/server-ca.crt", "client-kubelet", "serving-kubelet 192.0.2.7"]);
    expect(readdirSync(folder).sort()).toEqual(["client-ca.crt", "client-kubelet.crt", "client-kubelet.key", "server-ca.crt", "serving-kubelet.crt", "serving-kubelet.key"]);
    expect(pair.keyPath).toBe(join(folder, "client-kubelet.key"));
    expect([statSync(pair.keyPath).mode & 0o777, statSync(folder).mode & 0o777]).toEqual([0o600, 0o700]);
    const leaf = new X509Certificate(pair.cert);
    expect([leaf.subject, leaf.checkPrivateKey(createPrivateKey(pair.key))]).toEqual(["O=system:nodes\nCN=system:node:node2", true]);
    expect(sansOf(new X509Certificate(cert))).toEqual(serving.sans);
    expect(readFileSync(pki.ca("client-ca").certPath, "utf8")).toBe(pki.ca("client-ca").cert);
  });

  test("are taken up again at the next start, and renewed when fewer than 120 days are left", async () => {
    const { supervisor, asked } = supervisorOf();
    const start = async () => (await createAgentPki({ folder, supervisor, now: () => now })).issue(client);
    const first = await start();
    now = new Date(now.getTime() + 200 * DAY);
    expect(await start()).toEqual(first);
    now = new Date(now.getTime() + 50 * DAY);
    const later = await start();
    expect([later.key === first.key, later.cert === first.cert]).toEqual([true, false]);
    expect(asked.filter((what) => what === "client-kubelet")).toHaveLength(2);
  });

  test("are made once when two ask at the same time", async () => {
    const { supervisor, asked } = supervisorOf();
    const pki = await createAgentPki({ folder, supervisor });
    const pairs = await Promise.all([pki.issue(client), pki.issue(client), pki.issue(client)]);
    expect(new Set(pairs.map(({ cert }) => cert)).size).toBe(1);
    expect(asked.filter((what) => what === "client-kubelet")).toHaveLength(1);
  });

  test("that are near their end serve on while the server does not answer, and it is said", async () => {
    const { supervisor, state } = supervisorOf();
    const warnings: string[] = [];
    const pki = await createAgentPki({ folder, supervisor, now: () => now, warn: (message) => warnings.push(message) });
    const first = await pki.issue(client);
    state.failure = new Error("connect ECONNREFUSED");
    now = new Date(now.getTime() + 300 * DAY);
    expect(await pki.issue(client)).toEqual(first);
    expect(warnings).toEqual(["the certificate client-kubelet was not renewed: connect ECONNREFUSED"]);
    now = new Date(now.getTime() + 100 * DAY);
    await expect(pki.issue(client)).rejects.toThrow("connect ECONNREFUSED");
    state.failure = undefined;
    expect((await pki.issue(client)).cert, "one failure is not kept").not.toBe(first.cert);
  });

  test("are renewed while the agent runs, for as long as somebody follows", async () => {
    vi.useFakeTimers();
    try {
      const { supervisor } = supervisorOf(createPki(join(dir, "tls")));
      const pki = await createAgentPki({ folder, supervisor });
      const follow = new AbortController();
      const renewed: string[] = [];
      const first = await pki.issue(client, { onRenewed: ({ cert }) => renewed.push(cert), signal: follow.signal });
      await vi.advanceTimersByTimeAsync(244 * DAY);
      expect(renewed).toEqual([]);
      await vi.advanceTimersByTimeAsync(2 * DAY);
      expect(renewed).toEqual([readFileSync(first.certPath, "utf8")]);
      expect(renewed[0]).not.toBe(first.cert);
      follow.abort();
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  test("are certified anew when the server has other CAs, which take the place of the old", async () => {
    const before = await (await createAgentPki({ folder, supervisor: supervisorOf().supervisor })).issue(client);
    const { supervisor } = supervisorOf(createPki(join(dir, "other-tls")));
    const pki = await createAgentPki({ folder, supervisor });
    expect((await pki.issue(client)).cert).not.toBe(before.cert);
    expect(readFileSync(join(folder, "client-ca.crt"), "utf8")).toBe(readFileSync(join(dir, "other-tls/client-ca.crt"), "utf8"));
  });

  test("are made anew where a power cut has left empty files", async () => {
    const { supervisor } = supervisorOf();
    const { certPath, keyPath } = await (await createAgentPki({ folder, supervisor })).issue(client);
    for (const path of [certPath, keyPath]) writeFileSync(path, "");
    const { cert, key } = await (await createAgentPki({ folder, supervisor })).issue(client);
    expect(new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))).toBe(true);
  });

  test.each<[string, Partial<LeafRequest>, RegExp]>([
    ["another name", { commonName: "system:node:node3" }, /client-kubelet\.crt is O=system:nodes, CN=system:node:node3 by CN=k3s-client-ca@\d+, where CN=system:node:node2/],
    ["other groups", { organizations: ["system:nodes", "system:masters"] }, /O=system:masters/],
    ["another CA", { ca: "server-ca" }, /by CN=k3s-server-ca/],
  ])("an answer with %s is refused, and nothing is kept of it", async (_, change, message) => {
    const { supervisor, state } = supervisorOf();
    state.subjects["client-kubelet"] = { ...client, ...change };
    const pki = await createAgentPki({ folder, supervisor });
    await expect(pki.issue(client)).rejects.toThrow(expect.objectContaining({ code: "K3SP_CERTIFICATE_INVALID", message: expect.stringMatching(message) }));
    expect(readdirSync(folder).sort()).toEqual(["client-ca.crt", "server-ca.crt"]);
  });

  test("an answer that is no CA is refused", async () => {
    const { supervisor } = supervisorOf();
    await expect(createAgentPki({ folder, supervisor: { ...supervisor, get: async () => "<html>" } })).rejects.toThrow(/server-ca\.crt is no certificate of a CA/);
  });

  test("what only a server can do is refused with a word", async () => {
    const pki = await createAgentPki({ folder, supervisor: supervisorOf().supervisor });
    const denied = (what: RegExp) => expect.objectContaining({ code: "K3SP_PERMISSION_DENIED", message: expect.stringMatching(what), fix: "run the plugin that needs it on a server" });
    expect(() => pki.ca("request-header-ca")).toThrow(denied(/the CA request-header-ca: only on a server/));
    await expect(pki.serviceAccountKey()).rejects.toThrow(denied(/ServiceAccount tokens/));
    await expect(pki.certify("", client)).rejects.toThrow(denied(/certificates are signed with/));
    await expect(pki.issue({ ...client, ca: "request-header-ca" })).rejects.toThrow(denied(/request-header-ca/));
  });
});
