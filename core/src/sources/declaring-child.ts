/** The throw-away child of `declaredBy`: imports one module and tells what its plugin declares. */
import { pathToFileURL } from "node:url";
import { isPlugin, messageOf, type Slot, type SlotMap } from "@k3s-p/plugin-api";
import { shareApi } from "../isolation/share-api.ts";

export interface Declaration {
  readonly manifest?: Readonly<Record<string, unknown>>;
  readonly provides: Readonly<Record<string, string>>;
  readonly needs: Readonly<Record<string, string>>;
  readonly wants: Readonly<Record<string, string>>;
  readonly config?: object;
}

async function declaration(entry: string): Promise<Declaration> {
  const { default: plugin } = (await import(pathToFileURL(entry).href)) as { default?: unknown };
  if (!isPlugin(plugin)) throw new Error("the default export is not a plugin");
  const { manifest, provides, needs, wants, config } = plugin.definition;
  return { manifest, config, provides: provides ? { [(provides as Slot<unknown>).id]: (provides as Slot<unknown>).contract } : {}, needs: ranges(needs), wants: ranges(wants) };
}

const ranges = (slots: SlotMap = {}): Record<string, string> =>
  Object.fromEntries(Object.values(slots).map(({ id, contract }) => [id, `^${contract.split(".")[0]}`]));

shareApi();
process.send!(await declaration(process.argv[2]!).catch((error: unknown) => ({ error: messageOf(error) })));
