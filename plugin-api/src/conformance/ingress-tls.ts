/** The promises of the `ingress` slot about TLS: whose certificate a client sees, and that a renewed one drops nobody. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { Agent, request } from "node:https";
import type { TLSSocket } from "node:tls";
import { secrets } from "../kube/resources.ts";
import type { IngressPlace } from "./ingress.ts";
import { one, two, type KeyPairFixture } from "./ingress-tls.fixture.ts";
import { NotApplicable, pause, within } from "./suite.ts";

type TlsTest = readonly [name: string, run: (place: IngressPlace) => Promise<void>];

const tests: readonly TlsTest[] = [
  ["TLS: each server name gets the certificate of its Ingress's Secret, and other names some default", serverNames],
  ["TLS: a renewed Secret is shown from the next connection on, and open connections go on", renewal],
  ["TLS: a Secret that is missing or broken costs the others nothing", broken],
];

export const tlsTests: readonly TlsTest[] = tests.map(([name, run]) => [name, async (place) => {
  if (!place.httpsPort) throw new NotApplicable("it does not terminate TLS: its slot has no httpsPort");
  await run(place);
}]);

interface Seen {
  /** `status body` */
  readonly answer: string;
  readonly certificate: string;
}

function secret({ kube }: IngressPlace, name: string, { cert, key }: KeyPairFixture): void {
  const data = { "tls.crt": Buffer.from(cert).toString("base64"), "tls.key": Buffer.from(key).toString("base64") };
  kube.put(secrets, { metadata: { name, namespace: "default" }, type: "kubernetes.io/tls", data });
}

const tls = (host: string, secretName: string) => ({ tls: [{ hosts: [host], secretName }] });

function ask(place: IngressPlace, name: string, agent?: Agent): Promise<Seen> {
  const { host, httpsPort } = place;
  return new Promise((resolve, reject) => {
    const sent = request({ host, port: httpsPort!, servername: name, headers: { host: name }, agent: agent ?? false, rejectUnauthorized: false, timeout: 5000 }, (response) => {
      const certificate = (response.socket as TLSSocket).getPeerX509Certificate()?.fingerprint256 ?? "";
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
      response.on("end", () => resolve({ answer: `${response.statusCode} ${body}`, certificate })).on("error", reject);
    });
    sent.on("timeout", () => sent.destroy(new Error("no answer within 5 s"))).on("error", reject).end();
  });
}

const printOf = ({ cert }: KeyPairFixture): string => new X509Certificate(cert).fingerprint256;

async function shows(place: IngressPlace, name: string, pair: KeyPairFixture, answer: string): Promise<void> {
  await within(2000, async () => assert.deepEqual(await ask(place, name), { answer, certificate: printOf(pair) }, name));
}

async function serverNames(place: IngressPlace): Promise<void> {
  await Promise.all([place.backend("a"), place.backend("b")]);
  secret(place, "one", one);
  secret(place, "two", two);
  place.route("a", "one.example.com", [["/", "Prefix", "a"]], tls("one.example.com", "one"));
  place.route("b", "two.example.com", [["/", "Prefix", "b"]], tls("two.example.com", "two"));
  await shows(place, "one.example.com", one, "200 a");
  await shows(place, "two.example.com", two, "200 b");
  const { answer, certificate } = await ask(place, "other.example.com");
  assert.match(answer, /^404 /);
  assert.ok(certificate && certificate !== printOf(one) && certificate !== printOf(two), "an unknown name got the certificate of another");
}

async function renewal(place: IngressPlace): Promise<void> {
  await place.backend("a");
  secret(place, "tls", one);
  place.route("a", "one.example.com", [["/", "Prefix", "a"]], tls("one.example.com", "tls"));
  await shows(place, "one.example.com", one, "200 a");
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  try {
    assert.equal((await ask(place, "one.example.com", agent)).certificate, printOf(one));
    for (let i = 0; i < 20; i++) {
      secret(place, "tls", i % 2 ? one : two);
      await pause(2);
      const [open, fresh] = await Promise.all([ask(place, "one.example.com", agent), ask(place, "one.example.com")]);
      assert.deepEqual([open.answer, fresh.answer], ["200 a", "200 a"]);
      assert.equal(open.certificate, printOf(one), "the open connection was closed");
    }
    secret(place, "tls", two);
    await shows(place, "one.example.com", two, "200 a");
  } finally {
    agent.destroy();
  }
}

async function broken(place: IngressPlace): Promise<void> {
  await place.backend("a");
  secret(place, "one", one);
  secret(place, "broken", { cert: "no certificate", key: "no key" });
  place.route("good", "one.example.com", [["/", "Prefix", "a"]], tls("one.example.com", "one"));
  place.route("bad", "two.example.com", [["/", "Prefix", "a"]], tls("two.example.com", "broken"));
  place.route("absent", "three.example.com", [["/", "Prefix", "a"]], tls("three.example.com", "nowhere"));
  await shows(place, "one.example.com", one, "200 a");
  for (const name of ["two.example.com", "three.example.com"]) assert.equal((await ask(place, name)).answer, "200 a", name);
}
