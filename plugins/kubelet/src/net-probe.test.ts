import { createServer } from "node:net";
import { expect, it } from "vitest";
import { grpcHealth, tcpConnect } from "./net-probe.ts";

/** A port that nobody listens on. */
const closedPort = (): Promise<number> => new Promise((resolve) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as { port: number };
    server.close(() => resolve(port));
  });
});

it("says in a probe's own words that nobody listens", async () => {
  const port = await closedPort();
  await expect(tcpConnect("127.0.0.1", port, 1000)).rejects.toThrow(`dial tcp 127.0.0.1:${port}: connect: connection refused`);
  await expect(grpcHealth("127.0.0.1", port, "", 1000)).rejects.toThrow(`failed to connect service "127.0.0.1:${port}": dial tcp 127.0.0.1:${port}: connect: connection refused`);
});
