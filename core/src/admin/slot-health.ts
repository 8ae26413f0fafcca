/** The states of plugins as the health of the slots that they provide, for whoever tells users how the parts of the cluster are. */
import type { SlotHealth } from "@k3s-p/plugin-api/points";
import type { Kernel } from "../kernel/lifecycle.ts";

export const slotHealthOf = ({ status }: Pick<Kernel, "status">): SlotHealth => ({
  async read(slot) {
    const provider = status().find(({ slots }) => slots.includes(slot));
    if (!provider) return { ok: false, message: `no plugin provides the slot "${slot}"` };
    const { id, state, error } = provider;
    return state === "ready" ? { ok: true } : { ok: false, message: `${id} is ${state}${error ? `: ${error}` : ""}` };
  },
});
