// Rotary frequencies against transformers' own (tools/make_model_fixtures.py), from either spelling of a config.

import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { z } from "zod";
import { ConfigReader } from "./config.js";
import { readRope } from "./rope.js";

const casesSchema = z.array(
  z.object({
    config: z.record(z.string(), z.unknown()),
    frequencies: z.array(z.number()),
    amplitude: z.number(),
  }),
);
const cases = casesSchema.parse(
  JSON.parse(readFileSync(new URL("../../test/fixtures/rope-frequencies.json", import.meta.url), "utf8")),
);

it.each(cases)("$config", ({ config, frequencies, amplitude }) => {
  const withDefaults = { max_position_embeddings: 2048, ...config };
  const rope = readRope(new ConfigReader(withDefaults, "config.json"), 64, { share: 1 });
  expect(rope.frequencies).toHaveLength(frequencies.length);
  // Two last places of float32: transformers' power function is not always rounded to nearest.
  for (const [i, f] of frequencies.entries())
    expect(Math.abs((rope.frequencies[i] ?? 0) / f - 1)).toBeLessThan(2.4e-7);
  expect(rope.amplitude).toBeCloseTo(amplitude, 12);
});

it("covers what scales: each case differs from the plain one, but for the first", () => {
  const plain = cases[0]?.frequencies ?? [];
  for (const { frequencies } of cases.slice(1)) expect(frequencies).not.toEqual(plain);
});
