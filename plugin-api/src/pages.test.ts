import { createServer, type AddressInfo } from "node:net";
import { expect, it } from "vitest";
import { servePages } from "./pages.ts";
import { silentLogger } from "./testing.ts";

const table = {
  "/healthz": () => ({ body: "ok" }),
  "/livez": () => ({ status: 503, type: "application/json", body: "{}" }),
  "/broken": () => Promise.reject(new Error("no figures")),
};

it("serves its pages and nothing else", async () => {
  const pages = servePages(table, { host: "127.0.0.1", port: 0, name: "test", log: silentLogger });
  await pages.tried;
  const get = async (path: string, method = "GET") => {
    const answer = await fetch(`http://127.0.0.1:${pages.port}${path}`, { method });
    return [answer.status, answer.headers.get("content-type"), await answer.text()];
  };
  expect(await get("/healthz?verbose")).toEqual([200, "text/plain; charset=utf-8", "ok"]);
  expect(await get("/livez")).toEqual([503, "application/json", "{}"]);
  expect(await get("/broken")).toEqual([500, "text/plain; charset=utf-8", "no figures"]);
  expect((await get("/other"))[0]).toBe(404);
  expect((await get("/healthz", "POST"))[0]).toBe(405);
  await pages.close();
  await expect(get("/healthz")).rejects.toThrow();
});

it("says once that its port is taken, and takes it when it is free", async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  const { port } = other.address() as AddressInfo;
  const said: string[] = [];
  const note = (text: unknown): void => void said.push(String(text));
  const pages = servePages(table, { host: "127.0.0.1", port, name: "kubelet healthz", retry: 20, log: { ...silentLogger, warn: note, info: note } });
  await pages.tried;
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(said).toEqual([`kubelet healthz is not served: 127.0.0.1:${port} cannot be listened at (EADDRINUSE); tried again every 0.02 s`]);
  expect(pages.port).toBeUndefined();
  await new Promise((resolve) => other.close(resolve));
  await expect.poll(() => pages.port).toBe(port);
  expect(said[1]).toBe(`kubelet healthz is served at 127.0.0.1:${port} now`);
  await pages.close();
});
