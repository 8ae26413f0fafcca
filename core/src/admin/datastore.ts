/** What `k3s-p datastore` can ask of a running server. */
import { k3spError } from "@k3s-p/plugin-api";
import type { Datastore } from "@k3s-p/plugin-api/slots";
import { maintenance } from "../datastore/maintain.ts";
import type { Kernel } from "../kernel/lifecycle.ts";
import type { Operations } from "./operations.ts";

export function datastoreOperations(kernel: Pick<Kernel, "slot">): Operations {
  const live = (verb: "check" | "compact" | "dump"): Operations[string] => async ({ file }, { send }) => ({
    lines: await maintenance[verb](kernel.slot<Datastore>("datastore"), { ...(file && { file }) }, (rows) => send({ rows })),
  });
  return {
    "datastore-check": live("check"),
    "datastore-compact": live("compact"),
    "datastore-dump": live("dump"),
    "datastore-restore": () => Promise.reject(k3spError("K3SP_DATASTORE_LOCKED", {
      message: "the datastore is used by the running server", fix: "stop the server, restore, and start it again",
    })),
  };
}
