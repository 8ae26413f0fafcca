// Runs one TypeScript file of the repository under Node 26, with everything installed: node core/bin/run.js FILE [args]
import { resolve } from "node:path";
import { installDependencies, installPrograms, runNode26 } from "./bootstrap.js";

const [file, ...args] = process.argv.slice(2);
installDependencies();
installPrograms();
runNode26([resolve(file), ...args]);
