/** Plain HTTP pages on a port of their own: what health checks and Prometheus read of a component. */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { messageOf } from "./errors.ts";
import { http } from "./http.ts";
import type { Logger } from "./plugin.ts";

export interface Page {
  /** Default 200. */
  readonly status?: number;
  /** Default plain text. */
  readonly type?: string;
  readonly body: string;
}

export interface PagesOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** As the log names them: `kubelet healthz`. */
  readonly name: string;
  readonly log: Logger;
  /** Milliseconds until a port that was taken is tried again. */
  readonly retry?: number;
}

export interface Pages {
  /** The port once it listens; undefined while another program has it. */
  readonly port: number | undefined;
  /** Resolves after the first attempt, whether it listens or not. */
  readonly tried: Promise<void>;
  close(): Promise<void>;
}

/** By path, without the query. */
export type PageTable = Readonly<Record<string, () => Page | Promise<Page>>>;

const RETRY = 30_000;

/** Serves the pages. A port that is taken stops nothing: one line says so, and it is tried again until it is free. */
export function servePages(table: PageTable, { host, port, name, log, retry = RETRY }: PagesOptions): Pages {
  let server: Server | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  let told = false;
  let first = (): void => {};
  const tried = new Promise<void>((resolve) => (first = resolve));

  function listen(): void {
    const next = http.createServer((request, response) => void answer(table, request, response));
    next.on("error", (error) => {
      first();
      if (closed) return;
      if (!told) log.warn(`${name} is not served: ${host}:${port} cannot be listened at (${(error as NodeJS.ErrnoException).code ?? messageOf(error)}); tried again every ${retry / 1000} s`);
      told = true;
      timer = setTimeout(listen, retry).unref();
    });
    next.listen(port, host, () => {
      server = next;
      first();
      if (closed) next.close();
      else if (told) log.info(`${name} is served at ${host}:${port} now`);
    }).unref();
  }

  listen();
  return {
    get port() {
      return (server?.address() as AddressInfo | null | undefined)?.port;
    },
    tried,
    async close() {
      closed = true;
      clearTimeout(timer);
      if (!server?.listening) return;
      const ended = new Promise<void>((resolve) => server!.close(() => resolve()));
      server.closeAllConnections();
      await ended;
    },
  };
}

async function answer(table: PageTable, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const page = await render(table, request).catch((error: unknown): Page => ({ status: 500, body: messageOf(error) }));
  response.writeHead(page.status ?? 200, { "content-type": page.type ?? "text/plain; charset=utf-8", "x-content-type-options": "nosniff" });
  response.end(page.body);
}

async function render(table: PageTable, { url = "/", method }: IncomingMessage): Promise<Page> {
  const make = table[url.split("?")[0]!];
  if (!make) return { status: 404, body: "404 page not found\n" };
  if (method !== "GET" && method !== "HEAD") return { status: 405, body: "405 method not allowed\n" };
  return make();
}
