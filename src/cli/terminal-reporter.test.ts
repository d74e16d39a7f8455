import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { TerminalReporter } from "./terminal-reporter.js";

beforeEach(() => void vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] }));
afterEach(() => void vi.useRealTimers());

function fakeStream(isTTY: boolean) {
  let text = "";
  const write = (part: string) => {
    text += part;
  };
  return { stream: { isTTY, columns: 100, write } as unknown as NodeJS.WriteStream, text: () => text };
}

/** A pass over 10 GB at 250 MB/s, told every 2 s. */
function pass(reporter: TerminalReporter, seconds: number): void {
  reporter.reading("reading the dataset once", 0, 10e9);
  for (let t = 2; t <= seconds; t += 2) {
    vi.advanceTimersByTime(2000);
    reporter.reading("reading the dataset once", t * 250e6, 10e9);
  }
}

it("prints a line every ten seconds where there is no terminal, and what a long pass took", () => {
  const { stream, text } = fakeStream(false);
  const reporter = new TerminalReporter(stream);
  pass(reporter, 24);
  expect(text().split("\n")).toEqual([
    "[####................] reading the dataset once: 2.00 GB of 10.0 GB  200 MB/s  left 40 s",
    "[#########...........] reading the dataset once: 4.50 GB of 10.0 GB  225 MB/s  left 24 s",
    "",
  ]);
  pass(reporter, 40);
  expect(text()).toContain("sluice: reading the dataset once: 10.0 GB in 1m 04s\n");
});

it("draws in place on a terminal, and gives the place back", () => {
  const { stream, text } = fakeStream(true);
  const reporter = new TerminalReporter(stream);
  pass(reporter, 4);
  expect(text()).toContain("\r\u001b[K[#...................] reading the dataset once: 500 MB of 10.0 GB");
  expect(text()).not.toContain("\n");
  reporter.note("hello");
  expect(text()).toMatch(/\r.\[Ksluice: hello\n$/);
});

it("shows the weights once the dataset is read, and nothing of short passes", () => {
  const { stream, text } = fakeStream(false);
  const reporter = new TerminalReporter(stream);
  reporter.reading("hashing the weights", 1e9, 4e9);
  pass(reporter, 2);
  reporter.reading("reading the dataset once", 10e9, 10e9);
  vi.advanceTimersByTime(10_000);
  expect(text()).toContain("hashing the weights: 1.00 GB of 4.00 GB");
  const short = fakeStream(false);
  const other = new TerminalReporter(short.stream);
  other.reading("hashing the weights", 0, 5e6);
  other.reading("hashing the weights", 5e6, 5e6);
  vi.advanceTimersByTime(20_000);
  other.stop();
  expect(short.text()).toBe("");
});
