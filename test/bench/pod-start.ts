/**
 * Creates pods one after another and watches them: node pod-start.ts KUBECONFIG PORT COUNT IMAGE
 * Prints a JSON list of milliseconds from the create's send to the event that says Running.
 */
import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";

const [kubeconfig = "", port = "6443", count = "10", image = ""] = process.argv.slice(2);
const text = readFileSync(kubeconfig, "utf8");
const data = (key: string) => Buffer.from(new RegExp(`${key}: (\\S+)`).exec(text)![1]!, "base64");
const agent = new Agent({ keepAlive: true, ca: data("certificate-authority-data"), cert: data("client-certificate-data"), key: data("client-key-data") });
const pods = "/api/v1/namespaces/default/pods";

function call(method: string, path: string, body?: object): Promise<string> {
  return new Promise((resolve, reject) => {
    const out = request({ agent, host: "127.0.0.1", port, method, path, headers: { "content-type": "application/json" } }, (response) => {
      let answer = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (answer += chunk));
      response.on("end", () => (response.statusCode! < 300 ? resolve(answer) : reject(new Error(answer))));
    });
    out.on("error", reject);
    out.end(body && JSON.stringify(body));
  });
}

const running = new Map<string, () => void>();
request({ agent, host: "127.0.0.1", port, path: `${pods}?watch=true` }, (response) => {
  let rest = "";
  response.setEncoding("utf8").on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      const { object } = JSON.parse(line) as { object: { metadata: { name: string }; status?: { phase?: string } } };
      if (object.status?.phase === "Running") running.get(object.metadata.name)?.();
    }
  });
}).end();

const times: number[] = [];
for (let i = 0; i < Number(count); i++) {
  const name = `start-${i}`;
  const seen = new Promise<void>((resolve) => running.set(name, resolve));
  const start = performance.now();
  await call("POST", pods, {
    apiVersion: "v1", kind: "Pod", metadata: { name },
    spec: { terminationGracePeriodSeconds: 0, containers: [{ name: "c", image, command: ["sleep", "1000"] }] },
  });
  await seen;
  times.push(performance.now() - start);
  await call("DELETE", `${pods}/${name}`);
}
process.stdout.write(`${JSON.stringify(times)}\n`);
process.exit(0);
