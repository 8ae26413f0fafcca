/** The CRI log format: `<RFC 3339 nano time> <stdout|stderr> <P|F> <content>`, one record a line. */

export interface CriLine {
  readonly time: string;
  readonly stream: "stdout" | "stderr";
  /** Tag `P`: the container's line goes on in the next record of the stream. */
  readonly partial: boolean;
  readonly content: string;
}

/** Undefined when the line is not a record. */
export function parseCriLine(line: string): CriLine | undefined {
  const first = line.indexOf(" ");
  const second = line.indexOf(" ", first + 1);
  const third = line.indexOf(" ", second + 1);
  if (first < 0 || second < 0) return undefined;
  const stream = line.slice(first + 1, second);
  if (stream !== "stdout" && stream !== "stderr") return undefined;
  const tags = third < 0 ? line.slice(second + 1) : line.slice(second + 1, third);
  return {
    time: line.slice(0, first), stream, partial: tags.split(":")[0] === "P",
    content: third < 0 ? "" : line.slice(third + 1),
  };
}
