import { conformance } from "@k3s-p/plugin-api/conformance/vitest";

// The daemon outlives the plugin on purpose, so the suite of starts and stops does not apply as it is.
await conformance(new URL("..", import.meta.url), { only: ["runtime"] });
