/** Lets a plugin anywhere on the disk import the host's own plugin-api, unless it brings a copy with it. */
import { registerHooks } from "node:module";

const api = /^@k3s-p\/plugin-api(\/|$)/;
let shared = false;

/** Called before the first plugin from outside of this installation is imported. */
export function shareApi(): void {
  if (shared) return;
  shared = true;
  registerHooks({
    resolve(specifier, context, next) {
      if (!api.test(specifier)) return next(specifier, context);
      try {
        return next(specifier, context);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND") throw error;
        return next(specifier, { ...context, parentURL: import.meta.url });
      }
    },
  });
}
