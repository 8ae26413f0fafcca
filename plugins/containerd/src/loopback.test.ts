import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, it } from "vitest";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { loopback, renamer } from "./loopback.ts";
import type { Endpoint } from "./hosts-toml.ts";

const undo: (() => void | Promise<void>)[] = [];
afterEach(async () => { for (const step of undo.splice(0)) await step(); });
const local = loopback({ defer: (step) => void undo.push(step as () => void), log: silentLogger });
const urlOf = ({ scheme, host, path }: Endpoint): string => `${scheme}://${host}${path}`;

async function mirror(handle: (req: IncomingMessage, res: ServerResponse) => void): Promise<Endpoint> {
  const server = createServer(handle).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  undo.push(() => void server.closeAllConnections(), () => void server.close());
  return { scheme: "http", host: `127.0.0.1:${(server.address() as AddressInfo).port}`, path: "/v2", tls: {} };
}

it.each([
  ["rancher/app/manifests/v1?ns=docker.io", "project/images/app/manifests/v1?ns=docker.io"],
  ["rancher/manifests/manifests/v1", "project/images/manifests/manifests/v1"],
  ["library/busybox/blobs/sha256:1", "hub/busybox/blobs/sha256:1"],
  ["team/app/manifests/rancher/", "team/app/manifests/rancher/"],
  ["token", "token"],
])("%s is asked for as %s", (rest, wanted) => {
  expect(renamer({ "^rancher/(.*)": "project/images/$1", "^library/(.*)$": "hub/${1}", "^hub/": "never/" })(rest)).toBe(wanted);
});

it("hands requests and answers through as they are, but for the name", async () => {
  const seen: unknown[] = [];
  const rewriting = await local.rewriting(await mirror((req, res) => {
    seen.push([req.method, req.url, req.headers.authorization, req.headers.accept]);
    res.writeHead(401, { "www-authenticate": 'Bearer realm="https://elsewhere/token"', "x-more": "1" }).end("no");
  }), { "^a/": "b/" });
  const answer = await fetch(`${urlOf(rewriting)}/a/app/manifests/1?ns=docker.io`, { headers: { authorization: "Basic eA==", accept: "x/y" } });
  expect([answer.status, answer.headers.get("www-authenticate"), answer.headers.get("x-more"), await answer.text()]).toEqual([401, 'Bearer realm="https://elsewhere/token"', "1", "no"]);
  expect(seen).toEqual([["GET", "/v2/b/app/manifests/1?ns=docker.io", "Basic eA==", "x/y"]]);
});

it("serves nobody who does not know the path, and says when the mirror is away", async () => {
  const rewriting = await local.rewriting({ scheme: "http", host: "127.0.0.1:1", path: "/v2", tls: {} }, { a: "b" });
  expect((await fetch(`http://${rewriting.host}/v2/a/manifests/1`)).status).toBe(404);
  const away = await fetch(`${urlOf(rewriting)}/a/manifests/1`);
  expect([away.status, await away.text()]).toEqual([502, "connect ECONNREFUSED 127.0.0.1:1"]);
});

it("has a registry with nothing in it, and one only", async () => {
  const [one, other] = await Promise.all([local.nobody(), local.nobody()]);
  expect([(await fetch(`${urlOf(one)}/library/busybox/manifests/1`)).status, other]).toEqual([404, one]);
});
