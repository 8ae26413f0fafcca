import { expect, it } from "vitest";
import { counter, exponential, exposition, family, histogram, linear, processFamilies } from "./prometheus.ts";

it("escapes what would end a label or a line, and leaves out families without samples", () => {
  expect(exposition([
    family("a", "gauge", "One\nline.", [{ labels: { path: 'C:\\x "y"\n' }, value: 1.5, time: 7 }]), family("b", "counter", "None.", []), family("c", "gauge", "Endless.", [{ value: Infinity }]),
  ])).toBe('# HELP a One\\nline.\n# TYPE a gauge\na{path="C:\\\\x \\"y\\"\\n"} 1.5 7\n# HELP c Endless.\n# TYPE c gauge\nc +Inf\n');
});

it("counts by labels", () => {
  const calls = counter("calls_total", "Calls.");
  calls.add({ code: "200" });
  calls.add({ code: "200" }, 2);
  calls.add({ code: "503" });
  expect(exposition([calls.family()])).toContain('calls_total{code="200"} 3\ncalls_total{code="503"} 1\n');
});

it("forgets series by some of their labels", () => {
  const calls = counter("calls_total", "Calls.");
  const times = histogram("t_seconds", "Times.", [1]);
  for (const [pod = "", code = ""] of ["a1", "a2", "b1", "b2"].map((text) => [...text])) {
    calls.add({ pod, code });
    times.observe(1, { pod, code });
  }
  calls.drop({ pod: "a" });
  times.drop({ pod: "b", code: "1" });
  expect(calls.family().samples.map(({ labels }) => labels!.pod)).toEqual(["b", "b"]);
  expect(times.family().samples.filter(({ suffix }) => suffix === "_count").map(({ labels }) => `${labels!.pod}${labels!.code}`)).toEqual(["a1", "a2", "b2"]);
});

it("adds up buckets from below, and one value on a bound belongs to it", () => {
  const times = histogram("t_seconds", "Times.", [1, 2]);
  for (const value of [0.5, 1, 1.5, 9]) times.observe(value, { kind: "a" });
  expect(exposition([times.family()]).split("\n").slice(2)).toEqual([
    't_seconds_bucket{kind="a",le="1"} 2', 't_seconds_bucket{kind="a",le="2"} 3', 't_seconds_bucket{kind="a",le="+Inf"} 4',
    't_seconds_sum{kind="a"} 12', 't_seconds_count{kind="a"} 4', "",
  ]);
});

it("makes bounds without the dust of floating point", () => {
  expect(exponential(0.001, 2, 4)).toEqual([0.001, 0.002, 0.004, 0.008]);
  expect(linear(0.1, 0.1, 4)).toEqual([0.1, 0.2, 0.3, 0.4]);
});

it("tells what the process takes", () => {
  const families = Object.fromEntries(processFamilies().map(({ name, samples }) => [name, samples[0]!.value]));
  expect(families.process_resident_memory_bytes).toBeGreaterThan(10 * 2 ** 20);
  expect(families.process_virtual_memory_bytes).toBeGreaterThan(families.process_resident_memory_bytes!);
  expect(families.process_open_fds).toBeGreaterThan(2);
});
