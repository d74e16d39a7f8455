import { chmod, mkdtemp, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { isSluiceError } from "../base/errors.js";
import { FileStore } from "../store/file.js";
import { nodeFileSystem } from "../store/file-system.js";
import { MemoryStore } from "../store/memory.js";
import { openSpoolFolder } from "./spool-folder.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-spool-test-"));
  vi.stubEnv("TMPDIR", folder);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

const open = (named?: string, store = new MemoryStore()) => openSpoolFolder(named, store, nodeFileSystem);

it("is what was named, or lies in a local run", async () => {
  expect(await open("/elsewhere")).toBe("/elsewhere");
  expect(await openSpoolFolder(undefined, new FileStore("/run"), nodeFileSystem)).toBe("/run/.tmp");
});

it("is this user's alone, and the same at the next start", async () => {
  const spool = await open();
  expect(spool.startsWith(join(folder, "sluice-spool-"))).toBe(true);
  expect((await stat(spool)).mode & 0o777).toBe(0o700);
  expect(await open()).toBe(spool);
});

it.each([
  ["others can look into it", (path: string) => chmod(path, 0o755)],
  ["it is a file", async (path: string) => rm(path, { recursive: true }).then(() => writeFile(path, ""))],
  [
    "it leads elsewhere",
    async (path: string) => rm(path, { recursive: true }).then(() => symlink(folder, path)),
  ],
])("is refused where %s", async (_, spoil) => {
  await spoil(await open());
  await expect(open()).rejects.toSatisfy(
    (e) => isSluiceError(e, "config") && /not a folder of this user alone.*--spool/.test(e.message),
  );
});
