/**
 * The floor: a bare `node:https` server that answers with N bytes. node floor.ts PORT BYTES CERT KEY [DATABASE]
 * With a database, each request's body is written there first, as the datastore writes it.
 */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";

const [port = "0", bytes = "0", cert = "", key = "", file] = process.argv.slice(2);
const body = Buffer.alloc(Number(bytes), "x");
const store = file && (await (await import("../../plugins/datastore-sqlite/src/store.ts")).openStore({ file }));
let writes = 0;

createServer({ cert: readFileSync(cert), key: readFileSync(key) }, async (request, response) => {
  if (store) {
    const value = Buffer.concat(await request.toArray());
    await store.write({ key: `/floor/${writes++}`, value, expect: 0 });
  }
  response.writeHead(200, { "content-type": "application/json", "content-length": body.length });
  response.end(body);
}).listen(Number(port), "127.0.0.1", () => process.stdout.write("listening\n"));
