/** The root of `@k3s-p/plugin-api`: what every plugin starts from. Slots, points and kube helpers have their own entries. */
export * from "./contract.ts";
export * from "./errors.ts";
export * from "./files.ts";
export * from "./join-token.ts";
export * from "./plugin.ts";
export * from "./net.ts";
export * from "./socket.ts";
