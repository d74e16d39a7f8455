// Plug-ins that are old, new, broken or none: fake-plugin.c, built by gcc, behaves as FAKE_PLUGIN says.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { liveObjects } from "../../src/engine/pjrt/handle.js";
import { openPlugin } from "../../src/engine/pjrt/plugin.js";
import { buildFakePlugin, PJRT_HEADER, sayWhatIsSkipped } from "./pjrt-plugins.js";

sayWhatIsSkipped("the PJRT binding on a plug-in that misbehaves", "SLUICE_TEST_PJRT_HEADER");

const folder = mkdtempSync(join(tmpdir(), "sluice-pjrt-fake-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe.skipIf(!PJRT_HEADER)("a plug-in that is old, new, or none", () => {
  afterEach(() => {
    delete process.env.FAKE_PLUGIN;
    expect(liveObjects()).toEqual({ client: 0, executable: 0, buffer: 0, event: 0 });
  });
  const open = (mode: string) => {
    process.env.FAKE_PLUGIN = mode;
    return openPlugin(buildFakePlugin(folder, `${mode}.so`));
  };

  it("is refused by the name of the function that its table lacks", async () => {
    await expect(open("short")).rejects.toMatchObject({ kind: "config" });
    await expect(open("short")).rejects.toThrow(/has no PJRT_Plugin_Attributes; found PJRT API 0\.99/);
  });

  it("gets a larger struct where it asks for one", async () => {
    const plugin = await open("grown");
    expect(plugin.stablehloVersion).toBe("1.2.3");
    expect(plugin.stablehloMinimum).toBeUndefined();
  });

  it("is quoted when it cannot start, and every error is freed", async () => {
    const plugin = await open("refuse");
    for (let i = 0; i < 2; i++)
      await expect(plugin.createClient()).rejects.toThrow("INTERNAL: no chip here; errors not freed: 0");
  });

  it("is refused where its API has another major version", async () => {
    await expect(open("major")).rejects.toMatchObject({ kind: "config" });
    await expect(open("major")).rejects.toThrow(/it has PJRT API 1\.99, Sluice speaks 0/);
  });

  it("loses the client that does not say what it is", async () => {
    const plugin = await open("nameless");
    for (let i = 0; i < 2; i++)
      await expect(plugin.createClient()).rejects.toThrow("INTERNAL: no name; clients: 1");
  });

  it("is named when it is none", async () => {
    const file = join(folder, "text.so");
    writeFileSync(file, "no library");
    await expect(openPlugin(file)).rejects.toThrow(
      /text\.so cannot be used as a PJRT plug-in; found .*; expected/,
    );
    await expect(openPlugin(join(folder, "absent.so"))).rejects.toThrow(/absent\.so/);
  });
});
