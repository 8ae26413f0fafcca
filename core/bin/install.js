// Installs what is missing in this checkout; started under a lock by bootstrap.js.
import { installAlone } from "./bootstrap.js";

installAlone();
