/** The file that a program's output goes to; as K3s keeps containerd's: 50 MB, and three older ones beside it. */
import { createWriteStream, renameSync, statSync, type WriteStream } from "node:fs";
import type { Logger } from "@k3s-p/plugin-api";

export interface LogFile {
  write(line: string): void;
  close(): void;
}

const largest = 50 * 1024 * 1024;
const older = 3;

export function openLogFile(path: string, log: Logger, limit = largest): LogFile {
  let size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  let stream = open();

  function open(): WriteStream {
    if (size > limit) {
      setAside(path);
      size = 0;
    }
    return createWriteStream(path, { flags: "a", mode: 0o600 }).on("error", (error) => log.warn(`${path} is not written any more: ${error.message}`));
  }

  return {
    write(line) {
      if (size > limit) {
        stream.end();
        stream = open();
      }
      size += Buffer.byteLength(line) + 1;
      stream.write(`${line}\n`);
    },
    close: () => void stream.end(),
  };
}

/** `FILE` becomes `FILE.1`, and so on; the oldest goes. */
function setAside(path: string): void {
  for (let i = older; i > 0; i--) {
    const from = i === 1 ? path : `${path}.${i - 1}`;
    if (statSync(from, { throwIfNoEntry: false })) renameSync(from, `${path}.${i}`);
  }
}
