// Plug-ins by way of pip, against an index of our own. SLUICE_TEST_PYTHON names a Python that has pip.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { downloadWheel } from "../../src/hub/python-index.js";
import { IndexServer, makeWheel } from "../index-server.js";

const python = process.env.SLUICE_TEST_PYTHON;
if (!python) console.log("skipped without SLUICE_TEST_PYTHON: plug-ins by way of pip");

const NAME = `lammps_jax_pjrt_cpu-1.0-py3-none-manylinux_2_17_x86_64.whl`;
const METADATA = Buffer.from("Metadata-Version: 2.1\nName: lammps-jax-pjrt-cpu\nVersion: 1.0\n");
const WHEEL = Buffer.from(
  "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-manylinux_2_17_x86_64\n",
);
const info = "lammps_jax_pjrt_cpu-1.0.dist-info";

describe.skipIf(!python || process.arch !== "x64")("a wheel by pip", () => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-pip-"));
  let index: IndexServer;
  beforeAll(async () => {
    index = await new IndexServer().start();
    const files = {
      [`${info}/METADATA`]: METADATA,
      [`${info}/WHEEL`]: WHEEL,
      [`${info}/RECORD`]: Buffer.from(""),
    };
    index.publish(NAME, makeWheel(files));
  });
  afterAll(async () => {
    await index.stop();
    rmSync(folder, { recursive: true });
  });

  const download = (version: string) =>
    downloadWheel({ name: "lammps-jax-pjrt-cpu", version }, folder, () => {}, {
      ...process.env,
      PATH: `${dirname(python ?? "")}:${process.env.PATH}`,
      PIP_INDEX_URL: index.url,
      PIP_NO_CACHE_DIR: "1",
    });

  it("is fetched and checked by pip", async () => {
    const wheel = await download("1.0");
    expect(wheel.name).toBe(NAME);
    expect(readdirSync(folder)).toEqual([NAME]);
    const byPip = index.requests.filter((request) => request.startsWith("/files/"));
    expect(byPip.length).toBe(1);
    rmSync(wheel.file);
  });

  it("is not taken where its bytes are others, nor by the second way", async () => {
    index.trouble.wrongBytes = 2;
    await expect(download("1.0")).rejects.toThrow(/came with other bytes.*\(pip before that: ERROR: /s);
    expect(readdirSync(folder)).toEqual([]);
  });

  it("is missed by name", async () => {
    await expect(download("2.0")).rejects.toThrow(
      /has no lammps-jax-pjrt-cpu 2\.0 .*pip before that: ERROR: No match/s,
    );
  });
});
