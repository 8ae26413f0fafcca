/** A clock for `createTestKernel` that is moved by hand, so that back-off and quarantine take no time. For Vitest. */
export { manualClock, type ManualClock } from "../../core/src/kernel/testing.ts";
