/**
 * `application/vnd.kubernetes.protobuf`: the magic number `k8s\0`, then a runtime.Unknown that holds apiVersion, kind and
 * the object's own message. A watch is a sequence of frames: 4 bytes of length, then a WatchEvent.
 */
import { badRequest } from "@k3s-p/plugin-api/kube";
import type { Obj } from "../resources/types.ts";
import { decodeMessage } from "./read.ts";
import { type Message, protobufSchema } from "./schema.ts";
import { BackwardWriter, encodeMessage, writeMessage } from "./write.ts";

const magic = Buffer.from("k8s\0");

interface Unknown {
  readonly typeMeta?: { readonly apiVersion?: string; readonly kind?: string };
  /** Base64. */
  readonly raw?: string;
  readonly contentType?: string;
}

/** The object of a request body; throws 400 on bad bytes and on kinds that have no message. */
export function decodeProtobuf(body: Buffer): Obj {
  if (!body.subarray(0, 4).equals(magic)) throw badRequest("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
  try {
    const { typeMeta = {}, raw = "", contentType } = decodeMessage(protobufSchema().message("runtime.Unknown"), body.subarray(4)) as Unknown;
    const { apiVersion = "", kind = "" } = typeMeta;
    const bytes = Buffer.from(raw, "base64");
    if (contentType === "application/json") return JSON.parse(bytes.toString()) as Obj;
    const message = protobufSchema().messageFor(apiVersion, kind);
    if (!message) throw badRequest(`no kind "${kind}" is registered for version "${apiVersion}" in protobuf`);
    return { apiVersion, kind, ...(decodeMessage(message, bytes) as object) };
  } catch (error) {
    if (error instanceof SyntaxError) throw badRequest(`the body is not a valid protobuf message: ${error.message}`);
    throw error;
  }
}

/** Whether a kind can be sent as protobuf; custom resources cannot. */
export const hasProtobuf = (apiVersion: string, kind: string): boolean => protobufSchema().messageFor(apiVersion, kind) !== undefined;

export function encodeProtobuf(object: Obj): Buffer {
  const writer = new BackwardWriter();
  writeUnknown(writer, object);
  return Buffer.from(writer.finish());
}

/** One frame of a watch. */
export function encodeWatchFrame(type: string, object: Obj): Buffer {
  const writer = new BackwardWriter();
  writer.delimited(2, () => writer.delimited(1, () => writeUnknown(writer, object)));
  writer.delimited(1, () => writer.string(type));
  const length = writer.length;
  const head = Buffer.allocUnsafe(4);
  head.writeUInt32BE(length);
  writer.bytes(head);
  return Buffer.from(writer.finish());
}

/** A stored object as its own message; encoded once, however many ask for it. */
export interface Stored {
  readonly object: Obj;
}

const messages = new WeakMap<Stored, Buffer>();

function messageOf(stored: Stored): Buffer {
  const known = messages.get(stored);
  if (known) return known;
  const { apiVersion = "", kind = "" } = stored.object;
  const made = Buffer.from(encodeMessage(messageType(apiVersion, kind), stored.object));
  messages.set(stored, made);
  return made;
}

/** A list whose items have been encoded before, for the most part. */
export function encodeProtobufList(apiVersion: string, kind: string, metadata: object, items: readonly Stored[]): Buffer {
  const { fields } = messageType(apiVersion, `${kind}List`);
  const numberOf = (name: string): number => fields.find(({ json }) => json === name)!.number;
  const writer = new BackwardWriter();
  const number = numberOf("items");
  for (let i = items.length - 1; i >= 0; i--) {
    const before = writer.length;
    writer.bytes(messageOf(items[i]!));
    writer.close(number, before);
  }
  writer.delimited(numberOf("metadata"), () => writeMessage(writer, protobufSchema().message("meta.v1.ListMeta"), metadata));
  writer.close(2, 0);
  writeHead(writer, apiVersion, `${kind}List`);
  return Buffer.from(writer.finish());
}

function messageType(apiVersion: string, kind: string): Message {
  const found = protobufSchema().messageFor(apiVersion, kind);
  if (!found) throw new TypeError(`${apiVersion} ${kind} has no protobuf message`);
  return found;
}

function writeUnknown(writer: BackwardWriter, object: Obj): void {
  const { apiVersion = "", kind = "" } = object;
  const message = messageType(apiVersion, kind);
  writer.delimited(2, () => writeMessage(writer, message, object));
  writeHead(writer, apiVersion, kind);
}

/** Field 3 (contentEncoding) and 4 (contentType) stay empty, as upstream's encoder leaves them. */
function writeHead(writer: BackwardWriter, apiVersion: string, kind: string): void {
  writer.delimited(1, () => {
    writer.delimited(2, () => writer.string(kind));
    writer.delimited(1, () => writer.string(apiVersion));
  });
  writer.bytes(magic);
}
