/** The lifecycle alone: the promises of the slot's suite are those of the server that the link leads to. */
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { certificate, privateKey } from "@k3s-p/plugin-api/conformance/certificate.fixture";
import { conformance } from "@k3s-p/plugin-api/conformance/vitest";
import { afterAll } from "vitest";

const server = createServer({ cert: certificate, key: privateKey }, (_, answer) => void answer.end("ok"));
await new Promise<void>((resolve) => server.listen(0, "localhost", resolve));
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

await conformance(new URL("..", import.meta.url), { only: ["lifecycle"], config: { server: `https://localhost:${(server.address() as AddressInfo).port}` } });
