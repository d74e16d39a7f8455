// Model and dataset on a network mount that does not answer: the worker says what it waits for, and can be told to stop.

import { expect, it } from "vitest";
import { realClock } from "../src/base/clock.js";
import { resolveExtractOptions } from "../src/cli/extract-options.js";
import { realEnvironment } from "../src/run/environment.js";
import { extract } from "../src/run/extract.js";

it("waits for files that do not answer until it is told to stop, and says so", async () => {
  const ticks: (() => void)[] = [];
  const warnings: string[] = [];
  let signal = (_: NodeJS.Signals) => {};
  let planned = () => {};
  const planning = new Promise<void>((resolve) => {
    planned = resolve;
  });
  const ended = extract(
    resolveExtractOptions({ model: "/mnt/model", dataset: "/mnt/d.jsonl", output: "/mnt/run" }, {}),
    {
      note: () => {},
      warn: (message) => warnings.push(message),
      reading: () => {},
      started: () => {},
    },
    {
      ...realEnvironment,
      clock: {
        ...realClock,
        every: (_, action) => {
          ticks.push(action);
          return () => {};
        },
      },
      signals: {
        on: (_, listener) => {
          signal = listener;
        },
        off: () => {},
      },
      planRun: () => {
        planned();
        return new Promise(() => {});
      },
    },
  );
  await planning;
  expect(ticks).toHaveLength(1);
  ticks[0]?.();
  expect(warnings).toEqual([
    "opening the model /mnt/model and the dataset /mnt/d.jsonl has taken more than 30 s: does the disk or network mount that they lie on answer?",
  ]);
  signal("SIGINT");
  await expect(ended).rejects.toMatchObject({
    kind: "preempted",
    message: expect.stringContaining("stopped by SIGINT"),
  });
});
