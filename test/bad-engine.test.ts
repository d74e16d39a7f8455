// An engine that gives too few rows, or a disk that changes what is written, ends the worker as a bug, and nothing is committed.

import { join } from "node:path";
import { expect, it } from "vitest";
import type { LoadedModel } from "../src/engine/engine.js";
import { FileStore } from "../src/store/file.js";
import { type FileSystem, nodeFileSystem } from "../src/store/file-system.js";
import { hashData, listCommits, temporaryFolder } from "./helpers.js";
import { closeWorkshop, openWorkshop, work } from "./in-process.js";

/** The last row is lost. */
function shorten(model: LoadedModel): LoadedModel {
  return {
    execution: model.execution,
    close: () => model.close(),
    async run(batch) {
      const outputs = await model.run(batch);
      return outputs.map((output) => {
        const rowBytes = output.data.length / output.rows;
        return { ...output, rows: output.rows - 1, data: output.data.subarray(0, -rowBytes) };
      });
    },
  };
}

/** One bit of every index tensor is turned over on its way to the disk. */
const flipping: FileSystem = {
  ...nodeFileSystem,
  async open(path, how) {
    const file = await nodeFileSystem.open(path, how);
    const write = (bytes: Uint8Array, at: number) => {
      const index = how === "create" && bytes.length <= 64 ? bytes.length - 1 : -1;
      const changed = bytes.map((byte, i) => (i === index ? byte ^ 1 : byte));
      return file.write(changed, at);
    };
    return { write, sync: () => file.sync(), close: () => file.close() };
  },
};

it.each([
  [
    "an engine that loses a row",
    { shorten: true, fs: nodeFileSystem },
    /tpu_0\/shard_0001: the engine gave 2 x 48 values/,
  ],
  [
    "a disk that changes a byte",
    { shorten: false, fs: flipping },
    /sample_offsets of tpu_0\/shard_0001 is not what was/,
  ],
])("%s commits nothing", async (_, planted, message) => {
  const folder = await temporaryFolder();
  const workshop = await openWorkshop(join(folder, "data"));
  try {
    const model = planted.shorten ? shorten(workshop.model) : workshop.model;
    const store = new FileStore(join(folder, "run"));
    const worker = work({ ...workshop, model }, { store, spool: store.spool, fs: planted.fs, uuid: "a" });
    await expect(worker).rejects.toMatchObject({ exitCode: 70, message: expect.stringMatching(message) });
    expect(await listCommits(join(folder, "run"))).toEqual([]);
    expect(await hashData(join(folder, "run"))).toEqual({});
  } finally {
    await closeWorkshop(workshop);
  }
});
