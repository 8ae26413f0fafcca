/** Messages between the server and its runner process. */

interface Command {
  readonly id: number;
  readonly command: string;
  readonly args: string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

export type Request =
  | (Command & { readonly op: "run"; readonly stdin?: string | Uint8Array; readonly timeout: number })
  | (Command & { readonly op: "spawn" })
  | { readonly op: "write"; readonly id: number; readonly data: string }
  | { readonly op: "end"; readonly id: number }
  | { readonly op: "kill"; readonly id: number; readonly signal: NodeJS.Signals };

export type Reply =
  | { readonly id: number; readonly type: "result"; readonly code: number; readonly stdout: string; readonly stderr: string }
  | { readonly id: number; readonly type: "spawned"; readonly pid: number }
  | { readonly id: number; readonly type: "output"; readonly stream: "stdout" | "stderr"; readonly chunk: string }
  | { readonly id: number; readonly type: "exited"; readonly code: number | null; readonly signal: string | null }
  | { readonly id: number; readonly type: "error"; readonly code: string; readonly message: string };
