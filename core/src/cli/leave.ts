/** The end of a process that must not wait for a name server. */

/**
 * Ends this process at once. Its own exit waits for the threads that look names up, which nothing cuts off: ten seconds while
 * no name server answers. Another program in its place has no such threads, the same number, and nothing to do but to end.
 */
export function leave(code: number): never {
  if (process.getActiveResourcesInfo().includes("GetAddrInfoReqWrap")) process.execve!(process.execPath, [process.execPath, "-e", `process.exit(${code})`], {});
  process.exit(code);
}
