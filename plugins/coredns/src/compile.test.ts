import { decode, encode, type RecordType } from "dns-packet";
import { expect, test } from "vitest";
import type { CompileContext } from "./compile.ts";
import { parseCorefile } from "./corefile.ts";
import { putCluster, testZone } from "./testing.ts";

async function asker(text: string, context: Partial<CompileContext> = {}) {
  const zone = testZone(text, context);
  putCluster(zone.kube);
  return {
    warnings: zone.warnings,
    async ask(name: string, type = "A") {
      const reply = decode((await zone.resolver.handle(encode({ type: "query", id: 1, questions: [{ name, type: type as RecordType }] }), "udp"))!);
      return [(reply as any).rcode, ...(reply.answers ?? []).map((a: any) => `${a.name} ${a.type} ${a.type === "TXT" ? a.data.map(String) : a.data}`)];
    },
  };
}
const kubernetes = "kubernetes cluster.local in-addr.arpa ip6.arpa {\n pods insecure\n fallthrough in-addr.arpa ip6.arpa\n}\n";

test("reads blocks, comments, quotes, snippets, imports and several keys", () => {
  const blocks = parseCorefile(`(common) {
    errors # why
    cache 30
}
.:53, example.org:53 {
    import common
    template IN TXT { # inline block
      answer "{{ .Name }} 60 IN TXT \\"a b\\""
    }
    import custom/*.override
}
import custom/*.server
`, (pattern) => (pattern.endsWith(".override") ? ["loop\nhosts {\n 192.0.2.1 a\n}"] : ["x.y {\n  errors\n}\n"]));
  expect(blocks.map((b) => [b.keys, b.directives.map((d) => d.name)])).toEqual([
    [[".:53", "example.org:53"], ["errors", "cache", "template", "loop", "hosts"]], [["x.y"], ["errors"]],
  ]);
  expect(blocks[0]!.directives[2]!.block[0]!.args).toEqual(['{{ .Name }} 60 IN TXT "a b"']);
});

test.each([".:53 {\n errors\n", "}", ".:53 {\n kubernetes {\n"])("refuses an unbalanced file %j", (text) => {
  expect(() => parseCorefile(text)).toThrow(SyntaxError);
});

test("the block of the longest zone answers", async () => {
  const { ask } = await asker(`.:53 {\n hosts {\n 192.0.2.1 www.example.org\n fallthrough\n }\n}\nexample.org {\n hosts {\n 192.0.2.2 www.example.org\n }\n}\n`);
  expect(await ask("www.example.org")).toEqual(["NOERROR", "www.example.org A 192.0.2.2"]);
  expect(await ask("ftp.example.org")).toEqual(["NXDOMAIN"]);
});

test.each([
  ["exact", "rewrite name exact api.local kubernetes.default.svc.cluster.local", "api.local"],
  ["suffix", "rewrite name suffix .k8s.example .default.svc.cluster.local", "kubernetes.k8s.example"],
  ["a suffix that the new name has too", "rewrite name suffix .local .default.svc.cluster.local", "kubernetes.local"],
  ["regex", "rewrite name regex (.*)\\.short {1}.default.svc.cluster.local", "kubernetes.short"],
  ["block form", "rewrite stop {\n name regex (.*)\\.short\\. {1}.default.svc.cluster.local\n answer auto\n}", "kubernetes.short"],
  ["continue", "rewrite continue name suffix .one .two\nrewrite name suffix .two .default.svc.cluster.local", "kubernetes.one"],
])("rewrite %s answers under the client's name", async (_name, rule, question) => {
  const { ask, warnings } = await asker(`.:53 {\n${rule}\n${kubernetes}}\n`);
  expect(await ask(question)).toEqual(["NOERROR", `${question} A 10.43.0.1`]);
  expect(warnings).toEqual([]);
});

test("templates answer from the question", async () => {
  const { ask } = await asker(`.:53 {
    template IN A ip.example {
      match ^ip-(?P<a>[0-9]+)-([0-9]+)[.]ip[.]example[.]$
      answer "{{ .Name }} 60 IN A 10.0.{{ .Group.a }}.{{ index .Match 2 }}"
      fallthrough
    }
    template ANY ANY blocked.example {
      rcode NXDOMAIN
    }
    hosts {
      192.0.2.1 other.ip.example
    }
}`);
  expect(await ask("ip-3-4.ip.example")).toEqual(["NOERROR", "ip-3-4.ip.example A 10.0.3.4"]);
  expect(await ask("other.ip.example")).toEqual(["NOERROR", "other.ip.example A 192.0.2.1"]);
  expect(await ask("x.blocked.example", "AAAA")).toEqual(["NXDOMAIN"]);
});

test("options of kubernetes count", async () => {
  const { ask } = await asker(`.:53 {\n kubernetes k8s.test {\n pods disabled\n ttl 30\n }\n}\n`);
  expect(await ask("kubernetes.default.svc.k8s.test")).toEqual(["NOERROR", "kubernetes.default.svc.k8s.test A 10.43.0.1"]);
  expect(await ask("10-0-0-1.default.pod.k8s.test")).toEqual(["NXDOMAIN"]);
});

test("says which directives and options have no effect", async () => {
  const { warnings } = await asker(`.:53 {
    errors
    health { lameduck 5s
    }
    ready
    prometheus :9153
    reload
    autopath @kubernetes
    kubernetes cluster.local {
      namespaces a
    }
    forward . 192.0.2.1 {
      max_idle_conns 3
    }
    rewrite ttl exact a 5
}
tls://.:853 {
  errors
}
`);
  expect(warnings).toEqual([
    'line 8: directive "autopath" is not supported and has no effect',
    'line 15: only "rewrite name" is supported',
    'line 10: option "namespaces" of kubernetes is not supported and has no effect',
    'line 13: option "max_idle_conns" of forward is not supported and has no effect',
    "server block tls://.:853: only DNS on port 53 is served",
  ]);
});
