/** Checks the standard five-field cron form that CronJobs use. */

const descriptors = new Set(["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"]);
const months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const days = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

interface Bounds {
  readonly min: number;
  readonly max: number;
  /** Names for numbers, from `min` on. */
  readonly names?: readonly string[];
}

const bounds: readonly Bounds[] = [
  { min: 0, max: 59 }, { min: 0, max: 23 }, { min: 1, max: 31 }, { min: 1, max: 12, names: months }, { min: 0, max: 6, names: days },
];

/** What is wrong with a schedule; undefined when it is right. */
export function scheduleProblem(text: string): string | undefined {
  const schedule = text.replace(/^(CRON_)?TZ=\S+\s+/, "").trim();
  if (schedule.startsWith("@")) {
    if (descriptors.has(schedule)) return undefined;
    const every = /^@every (.*)$/.exec(schedule)?.[1];
    if (every !== undefined) return isDuration(every) ? undefined : `failed to parse duration ${schedule}: time: invalid duration ${JSON.stringify(every)}`;
    return `unrecognized descriptor: ${schedule}`;
  }
  const fields = schedule.split(/\s+/);
  if (fields.length !== bounds.length) return `expected exactly 5 fields, found ${fields.length}: [${fields.join(" ")}]`;
  for (const [i, field] of fields.entries()) {
    for (const range of field.split(",")) {
      const problem = rangeProblem(range, bounds[i]!);
      if (problem) return problem;
    }
  }
  return undefined;
}

const isDuration = (text: string): boolean => /^(\d+(\.\d+)?(ns|us|ms|s|m|h))+$/.test(text);

function rangeProblem(range: string, { min, max, names }: Bounds): string | undefined {
  const [span = "", step, ...tooManySteps] = range.split("/");
  if (tooManySteps.length) return `too many slashes: ${range}`;
  if (step !== undefined && !/^\d+$/.test(step)) return `failed to parse int from ${step}: strconv.Atoi: parsing "${step}": invalid syntax`;
  if (step !== undefined && Number(step) === 0) return `step of range should be a positive number: ${range}`;
  if (span === "*" || span === "?") return undefined;
  const ends = span.split("-");
  if (ends.length > 2) return `too many hyphens: ${range}`;
  const numbers: number[] = [];
  for (const end of ends) {
    const named = names?.indexOf(end.toLowerCase()) ?? -1;
    if (named < 0 && !/^\d+$/.test(end)) return `failed to parse int from ${end}: strconv.Atoi: parsing "${end}": invalid syntax`;
    numbers.push(named >= 0 ? named + min : Number(end));
  }
  const [start = 0, end = start] = numbers;
  if (start < min) return `beginning of range (${start}) below minimum (${min}): ${range}`;
  if (end > max) return `end of range (${end}) above maximum (${max}): ${range}`;
  if (start > end) return `beginning of range (${start}) beyond end of range (${end}): ${range}`;
  return undefined;
}
