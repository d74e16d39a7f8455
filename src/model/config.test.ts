// A config.json may come from a stranger: whatever it holds, it is read or refused by a SluiceError of kind `config`, and
// soon.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { expect, it } from "vitest";
import { isSluiceError } from "../base/errors.js";
import { ConfigReader, type RawConfig } from "./config.js";
import { findFamily } from "./families.js";
import { openModel } from "./model.js";

const ROOT = fileURLToPath(new URL("../../test/fixtures/models/", import.meta.url));

function read(config: RawConfig): number | null {
  try {
    const reader = new ConfigReader(config, "config.json");
    const shape = findFamily(config, "config.json").read(reader);
    reader.refuseTheRest();
    return shape.layers;
  } catch (error) {
    if (!isSluiceError(error, "config")) throw error;
    return null;
  }
}

it.each([
  ...[
    "llama3-scaled",
    "llama3-scaled-old",
    "qwen2-two-kv-heads",
    "gpt2",
    "mistral-yarn",
    "qwen3-window",
    "gemma2",
  ],
  ...[
    "gemma3",
    "gemma3-with-images",
    "phi3",
    "olmo2",
    "granite",
    "pythia",
    "gpt-neo",
    "phi",
    "smollm3",
    "starcoder2",
  ],
])("survives any change of %s", (name) => {
  const config: RawConfig = JSON.parse(readFileSync(join(ROOT, name, "config.json"), "utf8"));
  const fields = [
    ...Object.keys(config),
    "rope_scaling",
    "rope_theta",
    "head_dim",
    "architectures",
    "unknown_field",
  ];
  const number = fc.oneof(fc.nat(5000), fc.double(), fc.constantFrom(0, -1, 1.5, 2 ** 31, 2 ** 53, 1e300));
  const value = fc.oneof(number, fc.jsonValue(), fc.constantFrom(null, true, "default", [], {}));
  const scaling = fc.dictionary(
    fc.constantFrom("rope_type", "type", "factor", "low_freq_factor", "high_freq_factor", "rope_theta"),
    fc.oneof(value, fc.constantFrom("llama3", "linear", "yarn", "default")),
  );
  const change = fc.tuple(fc.constantFrom(...fields), fc.oneof(value, scaling));
  let accepted = 0;
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
      if (read({ ...config, ...Object.fromEntries(changes) }) !== null) accepted += 1;
    }),
    { numRuns: 500 },
  );
  expect(accepted).toBeGreaterThan(10);
});

it("refuses what would only fill the memory, and what is no object", async () => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-config-"));
  const config: RawConfig = JSON.parse(readFileSync(join(ROOT, "gpt2/config.json"), "utf8"));
  const open = async (text: string) => {
    writeFileSync(join(folder, "config.json"), text);
    return openModel(folder);
  };
  try {
    await expect(open(JSON.stringify({ ...config, n_layer: 2 ** 20 }))).rejects.toThrow(
      /no model has so many layers/,
    );
    await expect(open(JSON.stringify({ ...config, n_embd: 2 ** 40 }))).rejects.toThrow(
      /n_embd.*1 to 16777216/,
    );
    for (const text of ["", "[]", "null", '"x"', "{", "\u0000"])
      await expect(open(text)).rejects.toThrow(/not a JSON object/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
