import { expect, it } from "vitest";
import { parseArcTask, renderArcPrompt, renderArcSolved } from "./arc.js";
import { arcTransform, transformGrid, transformTask } from "./augment.js";

const task = {
  train: [{ input: [[0, 7]], output: [[7], [0]] }],
  test: [
    {
      input: [
        [1, 2],
        [3, 4],
      ],
      output: [[9]],
    },
  ],
};

it("renders the shown pairs, then the test's input, and nothing of its answer", () => {
  const parsed = parseArcTask(task);
  if ("reason" in parsed) throw new Error(parsed.reason);
  const prompt = "Pair 1\nInput 1x2\n1: 0 7\nOutput 2x1\n1: 7\n2: 0\nTest\nInput 2x2\n1: 1 2\n2: 3 4\nOutput";
  expect(renderArcPrompt(parsed)).toBe(prompt);
  expect(renderArcSolved(parsed)).toBe(`${prompt} 1x1\n1: 9\n`);
  const examples = parseArcTask({
    examples: [
      [[[0, 7]], [[7], [0]]],
      [
        [
          [1, 2],
          [3, 4],
        ],
        [[9]],
      ],
    ],
  });
  expect(examples).toEqual(parsed);
});

it.each([
  [{}, "neither"],
  [{ examples: [[[[1]], [[1]]]] }, "needs a shown pair"],
  [{ ...task, test: [{ input: [[1], [2, 3]] }] }, "not a rectangle"],
  [{ ...task, test: [{ input: [[10]] }] }, "no colour"],
  [{ ...task, test: [{ input: [] }] }, "1 to 30 rows"],
  [7, "not a JSON object"],
])("says why %j is no task", (value, reason) => {
  expect(parseArcTask(value)).toMatchObject({ reason: expect.stringContaining(reason) });
});

it("makes eight different variants, the same on every machine, each a bijection", () => {
  const grid = [
    [0, 1, 2],
    [3, 4, 5],
  ];
  const transforms = Array.from({ length: 8 }, (_, v) => arcTransform(42, 11, v));
  expect(transforms[0]).toEqual({ symmetry: 0, colours: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] });
  expect(new Set(transforms.map((t) => t.symmetry)).size).toBe(8);
  expect(new Set(transforms.map((t) => JSON.stringify(transformGrid(grid, t)))).size).toBe(8);
  expect(arcTransform(42, 11, 3)).toEqual(transforms[3]);
  expect(arcTransform(43, 11, 3)).not.toEqual(transforms[3]);
  for (const t of transforms) {
    expect([...t.colours].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(transformGrid(grid, t).flat().length).toBe(6);
    expect(new Set(transformGrid(grid, t).flat()).size).toBe(6);
  }
  const parsed = parseArcTask(task);
  if ("reason" in parsed) throw new Error(parsed.reason);
  expect(transformTask(parsed, arcTransform(1, 1, 0))).toEqual(parsed);
});
