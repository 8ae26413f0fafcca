/**
 * `node:http` for programs that start in a moment. To `import` it as a module reads all its exports, and with them the
 * whole of undici: 20 to 40 ms and some megabytes. Types may be imported from `node:http` as ever.
 */
export const http: typeof import("node:http") = process.getBuiltinModule("node:http");
