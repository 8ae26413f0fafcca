import { defineConfig } from "vitest/config";

/** A shared machine may stall for seconds; what fails twice is broken. */
const retry = process.env.CI ? 1 : 0;

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["{core,plugin-api,plugins/*,test/kit,test/unit,test/parity,test/attacks,test/extension}/**/*.test.ts"],
          exclude: ["**/node_modules/**", "**/*.integration.test.ts"],
          testTimeout: 20_000,
          retry,
        },
      },
      {
        // Real containerd, nftables and namespaces: one file at a time.
        test: {
          name: "integration",
          include: ["{core,plugin-api,plugins/*,test/kit}/**/*.integration.test.ts"],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          retry,
        },
      },
      {
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 180_000,
          retry,
        },
      },
    ],
  },
});
