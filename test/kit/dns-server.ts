/** A name server for tests: node dns-server.ts ADDRESS — answers every A question with 192.0.2.99. */
import { createSocket } from "node:dgram";

const socket = createSocket("udp4");
socket.on("message", (query, peer) => {
  const end = query.indexOf(0, 12) + 5;
  const answer = Buffer.concat([
    query.subarray(0, 2), Buffer.from([0x81, 0x80, 0, 1, 0, query[end - 3] === 1 ? 1 : 0, 0, 0, 0, 0]), query.subarray(12, end),
    // A pointer to the question's name, type A, class IN, 30 s, four bytes.
    ...(query[end - 3] === 1 ? [Buffer.from([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 192, 0, 2, 99])] : []),
  ]);
  socket.send(answer, peer.port, peer.address);
});
socket.bind(53, process.argv[2], () => process.stdout.write("listening\n"));
