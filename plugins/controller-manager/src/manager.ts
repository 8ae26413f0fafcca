/** Starts the selected controllers: some at once, the others when the first object that concerns them is there. */
import type { ControllerDeps } from "./controller.ts";
import type { ControllerEntry } from "./controllers.ts";

export interface ManagerOptions {
  readonly entries: readonly ControllerEntry[];
  /** Told when a controller could not start. */
  readonly onFailure: (name: string, error: unknown) => void;
}

export async function startControllers(deps: ControllerDeps, { entries, onFailure }: ManagerOptions): Promise<void> {
  const launch = async (entry: ControllerEntry): Promise<void> => {
    if (deps.signal.aborted) return;
    try {
      await entry.start(deps);
      deps.log.debug({ controller: entry.name }, "controller started");
    } catch (error) {
      if (!deps.signal.aborted) onFailure(entry.name, error);
    }
  };
  for (const entry of entries) if (entry.when) launchOnDemand(deps, entry, () => void launch(entry));
  await Promise.all(entries.filter((entry) => !entry.when).map(launch));
}

function launchOnDemand(deps: ControllerDeps, entry: ControllerEntry, launch: () => void): void {
  const stops: (() => void)[] = [];
  let launched = false;
  const trigger = () => {
    if (launched) return;
    launched = true;
    // Not inside the informer's own notification.
    queueMicrotask(() => {
      for (const stop of stops) stop();
      launch();
    });
  };
  for (const resource of entry.when!) stops.push(deps.informer(resource).on({ added: trigger }));
  deps.defer(() => {
    for (const stop of stops) stop();
  });
}
