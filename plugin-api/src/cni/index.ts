/** For plugins that provide the slot `cni`: their files put in place, or the whole network as functions. */
export * from "./install.ts";
export * from "./serve.ts";
export * from "./version.ts";
