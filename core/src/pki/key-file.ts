/** Reads private keys only from files that nobody else could have read or put there. */
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { k3spError, type K3spError } from "@k3s-p/plugin-api";

/** PEM. A link is not followed: whoever may write where it points chooses the key. */
export function readKeyFile(path: string): string {
  let file: number;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ELOOP") {
      throw unsafe(path, "is a symbolic link", "put the key itself there, owned by root and with mode 0600", cause);
    }
    throw k3spError("K3SP_PERMISSION_DENIED", { message: `cannot read ${path}`, cause });
  }
  try {
    const { mode, uid } = fstatSync(file);
    const rights = (mode & 0o777).toString(8).padStart(4, "0");
    if (mode & 0o077) throw unsafe(path, `can be used by others (mode ${rights})`, `chmod 600 ${path}; if others may have read it, replace it with k3s-p certificate rotate or rotate-ca`);
    const own = process.getuid?.() ?? uid;
    if (uid !== own && uid !== 0) throw unsafe(path, `belongs to the user ${uid}`, `chown ${own} ${path}; if that user is not trusted, replace the key`);
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}

const unsafe = (path: string, what: string, fix: string, cause?: unknown): K3spError =>
  k3spError("K3SP_KEY_UNSAFE", { message: `the private key ${path} ${what}`, fix, cause });
