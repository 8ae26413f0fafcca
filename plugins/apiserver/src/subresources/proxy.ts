/** `pods/proxy`, `services/proxy` and `nodes/proxy`. */
import { Readable } from "node:stream";
import type { IncomingMessage } from "node:http";
import type { ApiRequest, ApiResponse } from "../server/request.ts";
import { sendHead } from "../server/respond.ts";
import { forward, type ForwardHooks, type Target } from "./forward.ts";
import { type ProxyPlace, rewriteLinks, rewriteUrl } from "./html.ts";

/** The request's path after `/proxy`, as it was sent, and the part before. */
export function splitProxyPath(req: Pick<ApiRequest, "url">): { readonly prefix: string; readonly rest: string } {
  const mark = req.url.indexOf("?");
  const path = mark < 0 ? req.url : req.url.slice(0, mark);
  const match = /^((?:\/api\/v1)\/(?:namespaces\/[^/]+\/)?[^/]+\/[^/]+\/proxy)(\/.*)?$/.exec(path);
  const query = mark < 0 ? "" : req.url.slice(mark);
  return { prefix: match?.[1] ?? path, rest: (match?.[2] ?? "") + query };
}

export async function serveProxy(req: ApiRequest, res: ApiResponse, target: Target): Promise<void> {
  const { prefix, rest } = splitProxyPath(req);
  if ((req.method === "GET" || req.method === "HEAD") && !rest.startsWith("/")) {
    // Relative links of the page need a path that ends in a slash.
    sendHead(res, 301, { location: `${prefix}/${rest}` });
    res.end();
    return;
  }
  const place: ProxyPlace = { prefix, backend: `${target.host}:${target.port}` };
  await forward(req, res, target, { encodings: false, answer: (answer, headers) => rewriteAnswer(answer, headers, place) });
}

const rewriteAnswer = (answer: IncomingMessage, headers: Record<string, string | string[]>, place: ProxyPlace): ReturnType<NonNullable<ForwardHooks["answer"]>> => {
  const { location } = answer.headers;
  if (location) headers["location"] = rewriteUrl(location, place);
  if (!/^text\/html\b/i.test(answer.headers["content-type"] ?? "") || answer.headers["content-encoding"]) return undefined;
  delete headers["content-length"];
  return Readable.from(rewritten(answer, place));
};

async function* rewritten(answer: IncomingMessage, place: ProxyPlace): AsyncGenerator<string> {
  answer.setEncoding("utf8");
  let pending = "";
  for await (const chunk of answer as AsyncIterable<string>) {
    pending += chunk;
    // A tag is rewritten whole: what follows the last unclosed `<` waits.
    const open = pending.lastIndexOf("<");
    const cut = open > pending.lastIndexOf(">") && pending.length - open < MAX_TAG ? open : pending.length;
    if (cut > 0) yield rewriteLinks(pending.slice(0, cut), place);
    pending = pending.slice(cut);
  }
  if (pending) yield rewriteLinks(pending, place);
}

const MAX_TAG = 64 * 1024;
