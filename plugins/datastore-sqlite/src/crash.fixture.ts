/** Writes without end and prints each acknowledged write, until it is killed. */
import { openStore } from "./store.ts";

const store = await openStore({ file: process.argv[2]! });

async function writer(name: string): Promise<never> {
  for (let i = 0; ; i++) {
    const tier = i % 4 === 3 ? "lazy" : "durable";
    const key = `${name}-${i}`;
    const result = await store.write({ key, value: Buffer.from(`value of ${key}`), expect: 0, tier });
    if (result.ok) process.stdout.write(`${tier} ${key} ${result.revision}\n`);
  }
}

await Promise.all(["a", "b", "c", "d"].map(writer));
