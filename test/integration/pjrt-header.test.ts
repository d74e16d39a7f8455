// The tables of structs and functions against the C header: a program made of them is compiled by gcc and prints what the
// compiler says. SLUICE_TEST_PJRT_HEADER names pjrt_c_api.h, of API 0.81 or later.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { FUNCTIONS } from "../../src/engine/pjrt/functions.js";
import { STRUCTS, type StructLayout } from "../../src/engine/pjrt/structs.js";
import { PJRT_HEADER, sayWhatIsSkipped } from "./pjrt-plugins.js";

sayWhatIsSkipped("the tables of the PJRT binding against pjrt_c_api.h", "SLUICE_TEST_PJRT_HEADER");

const BYTES = { pointer: 8, size: 8, int64: 8, int32: 4, float: 4, bool: 1 };

describe.skipIf(!PJRT_HEADER)("the tables of the PJRT binding", () => {
  it("are what the compiler makes of the header", () => {
    const lines: string[] = [];
    const expected: string[] = [];
    const ask = (what: string, expression: string, value: number) => {
      lines.push(`printf("${what} %zu\\n", (size_t)(${expression}));`);
      expected.push(`${what} ${value}`);
    };
    for (const [name, layout] of Object.entries<StructLayout>(STRUCTS)) {
      ask(name, `${name}_STRUCT_SIZE`, layout.size);
      for (const [field, [offset, kind]] of Object.entries(layout.fields)) {
        ask(`${name}.${field}`, `offsetof(struct ${name}, ${field})`, offset);
        ask(`${name}.${field} bytes`, `sizeof(((struct ${name}*)0)->${field})`, BYTES[kind]);
      }
    }
    for (const [name, offset] of Object.entries(FUNCTIONS)) ask(name, `offsetof(PJRT_Api, ${name})`, offset);
    ask("api_version", "offsetof(PJRT_Api, pjrt_api_version.major_version)", 32);
    const folder = mkdtempSync(join(tmpdir(), "sluice-pjrt-header-"));
    try {
      const source = `#include <stdio.h>\n#include "pjrt_c_api.h"\nint main() {\n${lines.join("\n")}\nreturn 0; }\n`;
      writeFileSync(join(folder, "tables.c"), source);
      execFileSync("gcc", [
        ...["-I", dirname(PJRT_HEADER ?? ""), "-o", join(folder, "tables")],
        join(folder, "tables.c"),
      ]);
      const said = execFileSync(join(folder, "tables"), { encoding: "utf8" }).trimEnd().split("\n");
      expect(said).toEqual(expected);
      expect(said.length).toBeGreaterThan(250);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
