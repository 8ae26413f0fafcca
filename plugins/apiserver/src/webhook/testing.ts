/** A webhook for tests: a real HTTPS server on loopback that keeps what it was asked. It guards nothing. */
import { createServer } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Obj } from "../resources/types.ts";
import { testCertificate, testPrivateKey } from "../subresources/testing.ts";

export interface Review {
  readonly path: string;
  readonly apiVersion: string;
  readonly request: Obj;
}

/** The `response` of the review without its uid; or answers by itself. */
export type Behaviour = (review: Review, res: ServerResponse) => object | undefined | void;

export interface TestWebhook extends AsyncDisposable {
  readonly port: number;
  readonly seen: Review[];
  connections: number;
  behave: Behaviour;
  /** Answers everything itself, whatever the body is. */
  raw?: (body: unknown, res: ServerResponse) => void;
}

export const caBundle = Buffer.from(testCertificate).toString("base64");

/** An object of this kind is what most webhooks answer with a patch. */
export const jsonPatch = (...operations: readonly object[]): object => ({
  allowed: true, patchType: "JSONPatch", patch: Buffer.from(JSON.stringify(operations)).toString("base64"),
});

export async function startTestWebhook(behave: Behaviour = () => ({ allowed: true })): Promise<TestWebhook> {
  const server = createServer({ key: testPrivateKey, cert: testCertificate }, (req, res) => void answer(req, res));
  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    let text = "";
    for await (const chunk of req.setEncoding("utf8")) text += chunk;
    if (webhook.raw) return webhook.raw(JSON.parse(text), res);
    const { apiVersion, request } = JSON.parse(text) as Review;
    const review = { path: req.url!, apiVersion, request };
    webhook.seen.push(review);
    const response = webhook.behave(review, res);
    if (response) res.setHeader("content-type", "application/json").end(JSON.stringify({ kind: "AdmissionReview", apiVersion, response: { uid: request["uid"], ...response } }));
  };
  server.on("secureConnection", () => webhook.connections++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const webhook: TestWebhook = {
    port: (server.address() as AddressInfo).port, seen: [], connections: 0, behave,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return webhook;
}

/** A configuration of one webhook for ConfigMaps; `change` overwrites its fields. */
export function configuration(kind: "Mutating" | "Validating", name: string, port: number, change: object = {}): Obj {
  return {
    apiVersion: "admissionregistration.k8s.io/v1", kind: `${kind}WebhookConfiguration`, metadata: { name },
    webhooks: [{
      name: `${name}.example.com`, clientConfig: { url: `https://127.0.0.1:${port}/${name}`, caBundle },
      rules: [{ operations: ["*"], apiGroups: [""], apiVersions: ["v1"], resources: ["configmaps"] }],
      admissionReviewVersions: ["v1"], sideEffects: "None", ...change,
    }],
  };
}
