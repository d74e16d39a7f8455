// What others rely on: the names that "sluice" exports, and the help of every command.

import { expect, it } from "vitest";
import { buildProgram, normaliseArguments } from "../src/cli/main.js";
import * as api from "../src/index.js";

it("exports these names", () => {
  expect(Object.keys(api).sort()).toMatchInlineSnapshot(`
    [
      "SluiceError",
      "extract",
      "isSluiceError",
      "openRunForReading",
      "openShardSamples",
      "openStore",
      "readActivations",
      "readTensor",
      "verifyRun",
    ]
  `);
});

it("has these commands, each with an example in its help", async () => {
  const { commands } = await buildProgram();
  expect(commands.map((command) => command.name())).toEqual([
    "quickstart",
    "extract",
    "streams",
    "status",
    "verify",
    "inspect",
    "export",
    "plugins",
    "doctor",
    "gc",
  ]);
  for (const command of commands) {
    let help = "";
    command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
    expect(help).toContain("Example");
    expect(help.split("\n").filter((line) => line.length > 80)).toEqual([]);
    expect(help).toMatchSnapshot(command.name());
  }
});

it("takes underscored spellings", () => {
  expect(normaliseArguments(["streams", "--num_streams", "4", "--output_dir=a_b", "x_y"])).toEqual([
    "streams",
    "--num-streams",
    "4",
    "--output-dir=a_b",
    "x_y",
  ]);
});
