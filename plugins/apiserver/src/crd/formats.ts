/** The `format`s of strings and numbers that the server knows; others say nothing. */
import { isIPv4, isIPv6 } from "node:net";
import { parseCidr } from "@k3s-p/plugin-api/net";
import { dns1123Label, dns1123Subdomain } from "../resources/validate/names.ts";

type Rule = (text: string) => boolean;
const like = (pattern: RegExp): Rule => (text) => pattern.test(text);

const uuid = (version: string): Rule => like(new RegExp(`^[0-9a-f]{8}-?[0-9a-f]{4}-?${version}[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$`, "i"));
const email = /^[^\s@<>()[\]\\,;:"]+(\.[^\s@<>()[\]\\,;:"]+)*@[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$/;
const hostname = /^([a-zA-Z0-9_]([-a-zA-Z0-9_]{0,62})(\.[a-zA-Z0-9_][-a-zA-Z0-9_]{0,62})*)\.?$/;
const goDuration = /^[+-]?((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+$/;
const wordyDuration = /^\s*[+-]?(\d+(\.\d*)?|\.\d+)\s*(ns|nano|nanos?|nanoseconds?|us|µs|micros?|microseconds?|ms|millis?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|wks?|weeks?)\s*$/;
const dateTime = /^\d{4}-(\d\d)-(\d\d)[tT]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([zZ]|[+-]\d\d:?\d\d)?$/;

const rules: Readonly<Record<string, Rule>> = {
  "date-time": (text) => dateTime.test(text) && !Number.isNaN(Date.parse(text.toUpperCase())),
  datetime: (text) => rules["date-time"]!(text),
  date: (text) => /^\d{4}-\d\d-\d\d$/.test(text) && !Number.isNaN(Date.parse(text)) && new Date(text).toISOString().startsWith(text),
  duration: (text) => text === "0" || goDuration.test(text) || wordyDuration.test(text),
  byte: (text) => text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text),
  uri: (text) => URL.canParse(text) || (/^\/[^\s]*$/.test(text)),
  email: like(email),
  hostname: (text) => text.length <= 255 && hostname.test(text),
  ipv4: isIPv4,
  ipv6: isIPv6,
  cidr: (text) => parseCidr(text) !== undefined,
  mac: like(/^([0-9a-f]{2}[:-]){5}([0-9a-f]{2})$|^([0-9a-f]{4}\.){2}[0-9a-f]{4}$|^([0-9a-f]{2}[:-]){7}([0-9a-f]{2})$/i),
  uuid: uuid("[0-9a-f]"), uuid3: uuid("3"), uuid4: uuid("4"), uuid5: uuid("5"),
  "k8s-short-name": (text) => dns1123Label(text).length === 0,
  "k8s-long-name": (text) => dns1123Subdomain(text).length === 0,
  bsonobjectid: like(/^[0-9a-f]{24}$/i),
  isbn10: (text) => isIsbn10(digits(text)),
  isbn13: (text) => isIsbn13(digits(text)),
  isbn: (text) => isIsbn10(digits(text)) || isIsbn13(digits(text)),
  creditcard: (text) => /^\d{12,19}$/.test(digits(text)) && passesLuhn(digits(text)),
  ssn: like(/^\d{3}[- ]?\d{2}[- ]?\d{4}$/),
  hexcolor: like(/^#?([0-9a-f]{3}|[0-9a-f]{6})$/i),
  rgbcolor: like(/^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$/),
};

/** `password` is for those who show the value. */
export const isKnownFormat = (format: string): boolean => format === "password" || rules[format] !== undefined;

export const isFormat = (format: string, text: string): boolean => rules[format]?.(text) ?? true;

export function numberFits(format: string, value: number): boolean {
  if (format === "int32") return !Number.isInteger(value) || (value >= -2_147_483_648 && value <= 2_147_483_647);
  if (format === "float") return Math.abs(value) <= 3.4028234663852886e38;
  return true;
}

const digits = (text: string): string => text.replace(/[\s-]/g, "");

function isIsbn10(text: string): boolean {
  if (!/^\d{9}[\dX]$/.test(text)) return false;
  return [...text].reduce((sum, c, i) => sum + (10 - i) * (c === "X" ? 10 : Number(c)), 0) % 11 === 0;
}

function isIsbn13(text: string): boolean {
  return /^\d{13}$/.test(text) && [...text].reduce((sum, c, i) => sum + (i % 2 ? 3 : 1) * Number(c), 0) % 10 === 0;
}

function passesLuhn(text: string): boolean {
  const sum = [...text].reverse().reduce((total, c, i) => {
    const digit = Number(c) * (i % 2 ? 2 : 1);
    return total + (digit > 9 ? digit - 9 : digit);
  }, 0);
  return sum % 10 === 0;
}
