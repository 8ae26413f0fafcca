/** Whether a program answers on a unix socket: the sign of life that daemons of every language give. */
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export const listens = (socket: string): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = connect(socket, () => {
      probe.destroy();
      resolve(true);
    });
    probe.on("error", () => resolve(false));
  });

/** Looks every 10 ms, for a program that is starting; rejects with the signal's reason. */
export async function untilListens(socket: string, signal: AbortSignal): Promise<void> {
  while (!(await listens(socket))) {
    signal.throwIfAborted();
    await sleep(10);
  }
}
