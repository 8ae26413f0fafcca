/** The gRPC channel to containerd: unary CRI calls as promises, and the event stream. grpc-js is loaded on first use. */
import type { Client, ClientReadableStream, ServiceError } from "@grpc/grpc-js";
import { fileURLToPath } from "node:url";

/** Decoded messages: camelCase names, 64-bit numbers as decimal strings, enums as numbers, missing scalars as defaults. */
export type Message = Readonly<Record<string, any>>;

export const grpcCode = { deadlineExceeded: 4, notFound: 5, unavailable: 14 } as const;

/** The runtime's own text as message; `code` is the gRPC status code. */
export interface CriError extends Error {
  readonly code: number;
}

export const hasCode = (error: unknown, code: number): boolean => (error as CriError)?.code === code;

export interface Envelope {
  readonly namespace: string;
  readonly topic: string;
  readonly event: { readonly typeUrl: string; readonly value: Buffer } | null;
}

export interface CriChannel {
  /** `timeout` in milliseconds; 0 waits for ever. */
  call(service: "runtime" | "image", method: string, request: object, timeout: number): Promise<Message>;
  /** Resolves when the connection stands; rejects after `timeout` milliseconds. */
  ready(timeout: number): Promise<void>;
  events(filters: readonly string[]): ClientReadableStream<Envelope>;
  close(): Promise<void>;
}

const here = (file: string) => fileURLToPath(new URL(file, import.meta.url));
/** Milliseconds that a connection on its way is given at the end. */
const connectGrace = 500;
const maxMessage = 16 * 1024 * 1024;

export async function openChannel(socket: string): Promise<CriChannel> {
  const [grpc, loader] = await Promise.all([import("@grpc/grpc-js"), import("@grpc/proto-loader")]);
  const files = [here("cri.proto"), here("events.proto")];
  const definition = await loader.load(files, { longs: String, defaults: true, arrays: true, objects: true });
  const tree = grpc.loadPackageDefinition(definition) as any;
  const options = {
    "grpc.initial_reconnect_backoff_ms": 50,
    "grpc.max_reconnect_backoff_ms": 1000,
    "grpc.max_receive_message_length": maxMessage * 4,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_http_proxy": 0,
  };
  const client = (Service: any) => new Service(`unix://${socket}`, grpc.credentials.createInsecure(), options);
  const clients = { runtime: client(tree.runtime.v1.RuntimeService), image: client(tree.runtime.v1.ImageService) };
  const events = client(tree.containerd.services.events.v1.Events);
  return {
    call: (service, method, request, timeout) =>
      new Promise((resolve, reject) => {
        const deadline = timeout ? { deadline: Date.now() + timeout } : {};
        clients[service][method](request, deadline, (error: ServiceError | null, response: Message) =>
          error ? reject(criError(error)) : resolve(response),
        );
      }),
    ready: (timeout) =>
      new Promise((resolve, reject) =>
        events.waitForReady(Date.now() + timeout, (error?: Error) => (error ? reject(error) : resolve())),
      ),
    events: (filters) => events.subscribe({ filters }),
    async close() {
      await Promise.all([clients.runtime, clients.image, events].map((each) => closeClient(each, grpc.connectivityState.CONNECTING)));
    },
  };
}

/** Closed while it connects, grpc-js would keep the connection for ever. */
async function closeClient(client: Client, connecting: number): Promise<void> {
  if (client.getChannel().getConnectivityState(false) === connecting) {
    await new Promise<void>((resolve) => client.waitForReady(Date.now() + connectGrace, () => resolve()));
  }
  client.close();
}

const criError = (error: ServiceError): CriError =>
  Object.assign(new Error(error.details || error.message), { code: error.code });
