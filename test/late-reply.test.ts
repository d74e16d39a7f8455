// A thread that is closed while the reply to an aborted request is on its way: the program waits for the thread's end, and must not
// leave before (Node's code 13). So a worker that was told to stop left, once in some thousand times.

import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { TINY_MODEL, temporaryFolder } from "./helpers.js";

/** Without the mending six of ten programs left too soon. */
const TRIES = 8;

async function expectClosed(folder: string, thread: string): Promise<void> {
  const program = join(folder, "program.mjs");
  await writeFile(
    program,
    `${thread}
await ask().catch(() => {}); // The thread runs.
const told = new AbortController();
const asked = ask(told.signal).catch(() => {});
told.abort(new Error("told to stop"));
await asked;
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100); // The reply has come, and is not looked at yet.
await closing.close();
console.log("closed");
`,
  );
  for (let n = 0; n < TRIES; n++) {
    const { stdout } = await promisify(execFile)(process.execPath, [program]);
    expect(stdout).toBe("closed\n");
  }
}

const dist = (file: string) => JSON.stringify(fileURLToPath(new URL(`../dist/${file}`, import.meta.url)));

it("is waited for by whoever hashes", async () => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, "file"), "bytes");
  await expectClosed(
    folder,
    `import { Hasher } from ${dist("shard/hash.js")};
const closing = new Hasher();
const ask = (signal) => closing.hash(${JSON.stringify(join(folder, "file"))}, [], signal);`,
  );
});

it("is waited for by whoever reads units", async () => {
  await expectClosed(
    await temporaryFolder(),
    `import { ThreadedUnitReader } from ${dist("data/unit-reader.js")};
const rules = { vocabulary: 100 };
const options = { streams: [], tables: [], samplesPerShard: 8, model: ${JSON.stringify(TINY_MODEL)}, rules, maxSkipped: "half" };
const closing = new ThreadedUnitReader(options);
const ask = (signal) => closing.read({ stream: 0, index: 0 }, signal);`,
  );
});
