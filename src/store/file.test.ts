import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { isSluiceError } from "../base/errors.js";
import { FileStore } from "./file.js";
import { type FileSystem, nodeFileSystem } from "./file-system.js";
import { describeStore } from "./store.suite.js";
import { cleanTemporaries, temporaryName } from "./temporary.js";

describeStore("file", { open: (folder) => new FileStore(folder), takesHuge: true });

/** The real file system, but one call fails with a system error. */
function failing(call: keyof FileSystem, code: string): FileSystem {
  return { ...nodeFileSystem, [call]: () => Promise.reject(Object.assign(new Error(code), { code })) };
}

it("says what a failing disk means", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-file-"));
  try {
    const create = (fs: FileSystem) => new FileStore(folder, fs).create("x", new Uint8Array(1));
    await expect(create(failing("open", "ENOSPC"))).rejects.toSatisfy(
      (e) => isSluiceError(e, "store") && /full/.test(e.message),
    );
    await expect(create(failing("link", "EPERM"))).rejects.toSatisfy(
      (e) => isSluiceError(e, "config") && /hard links/.test(e.message),
    );
    await expect(create(failing("open", "EACCES"))).rejects.toSatisfy(
      (e) => isSluiceError(e, "config") && /permission/.test(e.message),
    );
    await writeFile(join(folder, "file"), "");
    await expect(new FileStore(folder).create("file/x", new Uint8Array(1))).rejects.toSatisfy((e) =>
      isSluiceError(e, "config"),
    );
    expect(await readdir(join(folder, ".tmp"))).toEqual([]);
    await chmod(folder, 0o755);
  } finally {
    await rm(folder, { recursive: true });
  }
});

it("settles NFS's false EEXIST: the link was ours", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-file-"));
  const lying: FileSystem = {
    ...nodeFileSystem,
    async link(from, to) {
      await nodeFileSystem.link(from, to);
      throw Object.assign(new Error("EEXIST"), { code: "EEXIST" });
    },
  };
  expect(await new FileStore(folder, lying).create("x", new Uint8Array(3))).toMatchObject({ size: 3 });
  expect(await new FileStore(folder, lying).create("x", new Uint8Array(3))).toBe("exists");
  await rm(folder, { recursive: true });
});

it("has created what somebody removed again before it could look", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-file-"));
  const quick: FileSystem = {
    ...nodeFileSystem,
    async link(from, to) {
      await nodeFileSystem.link(from, to);
      await nodeFileSystem.unlink(to);
    },
  };
  const store = new FileStore(folder, quick);
  const stored = await store.create("leases/x.0", new Uint8Array(3));
  expect(stored).toMatchObject({ size: 3 });
  expect(await store.head("leases/x.0")).toBeNull();
  if (stored !== "exists") await store.remove("leases/x.0", stored.version);
  const usual = await new FileStore(folder).create("y", new Uint8Array(4));
  expect(usual).toMatchObject({ ...(await new FileStore(folder).head("y")) });
  await rm(folder, { recursive: true });
});

it("cleans what dead processes left, and nothing else", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-tmp-"));
  await mkdir(folder, { recursive: true });
  const mine = temporaryName();
  const [boot, namespace, , , random] = mine.split("_");
  const dead = [boot, namespace, "999999", "1", random].join("_");
  for (const name of [mine, dead, `${dead}.shard`, "something else"]) await writeFile(join(folder, name), "");
  expect(await cleanTemporaries(folder, nodeFileSystem)).toBe(2);
  expect((await readdir(folder)).sort()).toEqual([mine, "something else"].sort());
  await rm(folder, { recursive: true });
});
