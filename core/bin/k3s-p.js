#!/usr/bin/env node
// k3s-p: prepares the machine if need be, then runs the command line under Node 26.
import { join } from "node:path";
import { installDependencies, installPrograms, root, runNode26 } from "./bootstrap.js";

const args = process.argv.slice(2);
const helpOnly = args.some((arg) => arg === "--help" || arg === "-h");
installDependencies();
if (["server", "agent"].includes(args[0]) && !helpOnly) installPrograms();
runNode26([join(root, "core/src/cli/main.ts"), ...args]);
