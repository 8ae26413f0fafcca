/** What tests of plugins and controllers import: a cluster and a kernel inside the test's own process. */
export { createTestCluster, type TestCluster, type TestClusterOptions } from "./test-cluster.ts";
export { createTestKernel, type TestKernel, type TestKernelOptions } from "./kernel.ts";
export { liveResources, type ResourceCount } from "@k3s-p/plugin-api/conformance/leaks";
