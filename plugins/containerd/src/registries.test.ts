import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readRegistries } from "./registries.ts";

const dir = mkdtempSync(join(tmpdir(), "k3sp-registries-"));
afterAll(() => rmSync(dir, { recursive: true }));
const file = join(dir, "registries.yaml");
const ca = join(dir, "ca.crt");
writeFileSync(ca, "");

const read = (yaml: string) => {
  writeFileSync(file, yaml);
  return readRegistries(file);
};

it("reads what K3s documents", async () => {
  expect(await read(`
mirrors:
  docker.io:
    endpoint:
      - "https://registry.example.com:5000"
      - mirror.example.com/v2/hub
    rewrite:
      "^rancher/(.*)": "mirrorproject/rancher-images/$1"
  "*":
    endpoint: [http://cache.local]
  empty.example.com:
configs:
  "registry.example.com:5000":
    auth: { username: me, password: 0123, identity_token: id, auth: bWU6eA== }
    tls: { ca_file: ${ca}, cert_file: ${ca}, key_file: ${ca}, insecure_skip_verify: yes }
`)).toEqual({
    registries: {
      mirrors: {
        "docker.io": { endpoint: ["https://registry.example.com:5000", "mirror.example.com/v2/hub"], rewrite: { "^rancher/(.*)": "mirrorproject/rancher-images/$1" } },
        "*": { endpoint: ["http://cache.local"] },
        "empty.example.com": {},
      },
      configs: {
        "registry.example.com:5000": {
          auth: { username: "me", password: "0123", identity_token: "id", auth: "bWU6eA==" },
          tls: { ca_file: ca, cert_file: ca, key_file: ca, insecure_skip_verify: true },
        },
      },
    },
    warnings: [],
  });
});

it("takes an alias and an empty file for what they are, and no file for none", async () => {
  const shared = await read("mirrors:\n  a.io: &m\n    endpoint: [https://m.io]\n  b.io: *m\n");
  expect(shared?.registries.mirrors["b.io"]).toEqual({ endpoint: ["https://m.io"] });
  expect(await read("# nothing\n")).toEqual({ registries: { mirrors: {}, configs: {} }, warnings: [] });
  expect(await readRegistries(join(dir, "none.yaml"))).toBeUndefined();
});

it("ignores unknown keys and says where they are", async () => {
  const { registries, warnings } = (await read("mirror: {}\nmirrors:\n  a.io:\n    endpoints:\n    - https://m.io\n"))!;
  expect(registries.mirrors).toEqual({ "a.io": {} });
  expect(warnings).toEqual([
    `${file}:1: mirror is unknown and ignored   known: mirrors, configs`,
    `${file}:4: mirrors."a.io".endpoints is unknown and ignored   known: endpoint, rewrite`,
  ]);
});

describe("refuses, with line and field,", () => {
  it.each([
    ["an endpoint of another scheme", "mirrors:\n  a.io:\n    endpoint:\n    - ftp://m.io\n", '4: mirrors."a.io".endpoint[0] "ftp://m.io" must begin with https:// or http://'],
    ["an endpoint that is no URL", "mirrors: { a.io: { endpoint: ['https://'] } }", '1: mirrors."a.io".endpoint[0] "https://" is not a URL such as https://registry.example.com:5000'],
    ["a password in an endpoint, without repeating it", "mirrors: { a.io: { endpoint: ['https://u:secret@m.io'] } }", '1: mirrors."a.io".endpoint[0] must not have a password in it: give it in configs."m.io".auth'],
    ["one endpoint where a list belongs", "mirrors:\n  a.io:\n    endpoint: https://m.io\n", '3: mirrors."a.io".endpoint must be a list'],
    ["a URL as the name of a registry", "mirrors:\n  https://a.io: {}\n", '2: mirrors."https://a.io" is not the host of a registry, such as docker.io, registry.example.com:5000 or *'],
    ["a name that leaves the folder", "configs:\n  ../etc: {}\n", '2: configs."../etc" is not the host of a registry, such as docker.io, registry.example.com:5000 or *'],
    ["a pattern that is none", "mirrors:\n  a.io:\n    rewrite:\n      '(': x\n", '4: mirrors."a.io".rewrite."(" is no regular expression: Invalid regular expression: /(/: Unterminated group'],
    ["a CA that is not there", "configs:\n  a.io:\n    tls:\n      ca_file: /none/ca.crt\n", '4: configs."a.io".tls.ca_file /none/ca.crt: no such file'],
    ["a certificate without its key", `configs:\n  a.io:\n    tls:\n      cert_file: ${ca}\n`, '3: configs."a.io".tls must have cert_file and key_file, or neither'],
    ["a word where true or false belongs", "configs: { a.io: { tls: { insecure_skip_verify: maybe } } }", '1: configs."a.io".tls.insecure_skip_verify must be true or false'],
    ["a list as password, without repeating it", "configs: { a.io: { auth: { password: [secret] } } }", '1: configs."a.io".auth.password must be a text'],
    ["a list as the whole", "- mirrors\n", "1: the file must be a mapping with mirrors, configs"],
  ])("%s", async (_, yaml, message) => {
    await expect(read(yaml)).rejects.toMatchObject({ code: "K3SP_CONFIG_INVALID", message: expect.stringContaining(`${file}:${message}`) });
  });

  it("everything at once", async () => {
    const error = await read("mirrors: { a.io: { endpoint: x } }\nconfigs: { a.io: { auth: y } }\n").catch((e: unknown) => e) as { readonly detail: readonly string[] };
    expect(error.detail).toEqual([`${file}:2: configs."a.io".auth must be a mapping with username, password, auth, identity_token, token`]);
  });

  it("an alias of nothing", async () => {
    await expect(read("mirrors: *none\n")).rejects.toMatchObject({ code: "K3SP_CONFIG_SYNTAX", message: `${file}: Unresolved alias (the anchor must be set before the alias): none` });
  });

  it("what is not YAML", async () => {
    await expect(read("mirrors: {\n")).rejects.toMatchObject({ code: "K3SP_CONFIG_SYNTAX", message: expect.stringContaining(`${file}:2:1: `) });
  });
});
