// What is drawn on a terminal, and where results go beside it.

import { expect, it } from "vitest";
import { ProgressLine } from "./render.js";

/** A terminal of 40 columns that keeps what is written to it. */
function terminal() {
  const written: string[] = [];
  const stream = { isTTY: true, columns: 40, write: (text: string) => written.push(text) > 0 };
  return { written, stream: stream as unknown as NodeJS.WriteStream };
}

it("draws its last state once, on a line of its own, however often it is stopped", () => {
  const { written, stream } = terminal();
  const line = new ProgressLine(() => "80 of 80 shards verified", stream);
  line.stop();
  written.push("the result\n");
  line.stop();
  expect(written.join("")).toBe("\r\u001b[K80 of 80 shards verified\nthe result\n");
});

it("never draws past the end of a narrow terminal's line", () => {
  const { written, stream } = terminal();
  new ProgressLine(() => "x".repeat(100), stream).stop();
  expect(written.join("")).toBe(`\r\u001b[K${"x".repeat(39)}\n`);
});
