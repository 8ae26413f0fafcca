/** The file that a program's output goes to; as K3s keeps containerd's: 50 MB, and three older ones beside it. */
import { createWriteStream, openSync, renameSync, statSync, type WriteStream } from "node:fs";
import { messageOf, type Logger } from "@k3s-p/plugin-api";

export interface LogFile {
  write(line: string): void;
  close(): void;
}

const largest = 50 * 1024 * 1024;
const older = 3;

/** Throws when the file cannot be opened; what cannot be written later is told to `log` and lost. */
export function openLogFile(path: string, log: Logger, limit = largest): LogFile {
  const warn = (error: unknown): void => log.warn(`${path}: ${messageOf(error)}`);
  const open = (): WriteStream => createWriteStream(path, { fd: openSync(path, "a", 0o600) }).on("error", warn);
  let stream = open();
  let size = statSync(path).size;

  function turn(): void {
    size = 0;
    try {
      setAside(path);
      const full = stream;
      stream = open();
      full.end();
    } catch (error) {
      warn(error);
    }
  }

  return {
    write(line) {
      if (size > limit) turn();
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
