/** The floor: a bare `node:https` server that returns N bytes. node floor.ts PORT BYTES CERT KEY */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";

const [port = "0", bytes = "0", cert = "", key = ""] = process.argv.slice(2);
const body = Buffer.alloc(Number(bytes), "x");
createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (_, response) => {
  response.writeHead(200, { "content-type": "application/json", "content-length": body.length });
  response.end(body);
}).listen(Number(port), "127.0.0.1", () => process.stdout.write("listening\n"));
