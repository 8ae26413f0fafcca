import { conformance } from "@k3s-p/plugin-api/conformance/vitest";

await conformance(new URL("..", import.meta.url));
