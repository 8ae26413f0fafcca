/** The suite of the slot `cni` finds out who collects the wrong garbage: a good network whose program is made to lie. */
import { chmodSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Cni, Runtime } from "../slots/index.ts";
import { cniSuite } from "./cni.ts";
import { unmet } from "./requirements.ts";
import { openSubject, type Subject } from "./subject.ts";
import { runSuite } from "./suite.ts";

const reason = unmet(["netns", "cni-programs"]);
if (reason) console.log(`skipped: the suite of cni needs ${reason}`);
const myCni = join(import.meta.dirname, "../../examples/my-cni");

/** The program is a shell script that does `script`, and then what the real one does. */
async function lying(script: string, changeList: (impl: Cni) => Cni = (impl) => impl): Promise<Subject> {
  const subject = await openSubject(myCni);
  const { definition } = subject.plugin;
  async function start(ctx: { readonly needs: { readonly runtime: Runtime } }): Promise<Cni> {
    const impl = (await definition.start(ctx as never)) as Cni;
    const program = join(ctx.needs.runtime.cni.binDir, "my-cni");
    renameSync(program, `${program}.real`);
    writeFileSync(program, `#!/bin/sh\n${script}\nexec "$0.real"\n`);
    chmodSync(program, 0o755);
    return changeList(impl);
  }
  return { ...subject, plugin: { ...subject.plugin, definition: { ...definition, start: start as never } } };
}

const only = (subject: Subject, name: string) => runSuite(cniSuite(subject).filter((each) => each.name.startsWith(name)));
const onGc = (what: string) => `[ "$CNI_COMMAND" = GC ] && ${what}`;
const collectAll = `echo '{"cniVersion":"1.1.0","name":"my-cni","cni.dev/valid-attachments":[]}' | "$0.real"; exit`;

describe.skipIf(reason)("GC", () => {
  test.each([
    ["of a network that does what it promises is accepted", "", "passed", undefined],
    ["that removes nothing is found out", onGc("exit 0"), "failed", /^the stranger still has its eth0/],
    ["that removes live attachments is found out", onGc(`{ ${collectAll}; }`), "failed", /^links on the node, of which the stranger's was to go/],
    ["that removes what others made is found out", onGc("ip link delete other0 2> /dev/null"), "failed", /^links on the node/],
    ["that fails is found out", onGc("{ echo no; exit 1; }"), "failed", /^CNI GC by .*my-cni: no/],
  ])("%s", async (_, script, status, why) => {
    const [result] = await only(await lying(script), "GC");
    expect([result?.status, result?.reason]).toEqual([status, why ? expect.stringMatching(why) : undefined]);
  });

  test("is skipped where the list offers none, with the programs that are too old", async () => {
    const cniVersions = undefined as never;
    const older = await lying('[ "$CNI_COMMAND" = VERSION ] && exec echo \'{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}\'', (impl) => ({ ...impl, confList: { ...impl.confList, cniVersions } }));
    const [result] = await only(older, "GC");
    expect([result?.status, result?.reason]).toEqual(["skipped", expect.stringMatching(/^GC came with CNI 1\.1\.0, and the list offers 1\.0\.0: my-cni in \S+ speaks 1\.0\.0 at most$/)]);
  });
});

test.skipIf(reason)("a list that offers a version which its program does not speak is found out, and one whose STATUS denies what status() says", async () => {
  const [lint] = await only(await lying('[ "$CNI_COMMAND" = VERSION ] && exec echo \'{"supportedVersions":["1.0.0"]}\''), "the list");
  expect(lint?.reason).toContain("the list offers 1.1.0, and the program my-cni speaks 1.0.0");
  const [status] = await only(await lying('[ "$CNI_COMMAND" = STATUS ] && { echo not yet; exit 1; }'), "status");
  expect(status?.reason).toMatch(/^CNI STATUS by .*my-cni: not yet/);
});
