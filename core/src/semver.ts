/** The few functions of semver that the kernel needs; the whole package takes 15 ms to load. */
import satisfies from "semver/functions/satisfies.js";
import valid from "semver/functions/valid.js";
import minVersion from "semver/ranges/min-version.js";
import validRange from "semver/ranges/valid.js";

export const semver = { satisfies, valid, minVersion, validRange };
