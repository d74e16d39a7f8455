import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { findTpu, isLibtpu, tpuEnvironment } from "./tpu.js";

const roots: string[] = [];
afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true });
});

/** A root folder with these files. */
function machine(files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), "sluice-machine-"));
  roots.push(root);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
}

function pci(place: string, vendor: string, device: string): Record<string, string> {
  const folder = `sys/bus/pci/devices/${place}`;
  return { [`${folder}/vendor`]: `${vendor}\n`, [`${folder}/device`]: `${device}\n` };
}

const GOOGLE_VM = { "sys/class/dmi/id/product_name": "Google Compute Engine\n" };

describe("findTpu", () => {
  it("counts Google's chips on the PCI bus, and not its network card", () => {
    const chips = {
      ...pci("0", "0x1ae0", "0x0063"),
      ...pci("1", "0x1ae0", "0x0063"),
      ...pci("2", "0x1ae0", "0x0042"),
    };
    expect(findTpu(machine(chips))).toEqual({ chips: 2, generation: "v5e" });
    expect(findTpu(machine(pci("0", "0x1ae0", "0x005e")))).toEqual({ chips: 1, generation: "v4" });
    expect(findTpu(machine(pci("0", "0x10de", "0x0063")))).toBeNull();
  });

  it("takes device files on Google's machines alone: elsewhere they are others' accelerators", () => {
    const accel = { "dev/accel0": "", "dev/accel1": "", "dev/accel2": "", "dev/accel3": "" };
    expect(findTpu(machine({ ...GOOGLE_VM, ...accel }))).toEqual({ chips: 4, generation: null });
    expect(findTpu(machine(accel))).toBeNull();
    const vfio = { "dev/vfio/0": "", "dev/vfio/1": "", "dev/vfio/vfio": "" };
    expect(findTpu(machine({ ...GOOGLE_VM, ...vfio }))).toEqual({ chips: 2, generation: null });
    expect(findTpu(machine(vfio))).toBeNull();
    expect(findTpu(machine(GOOGLE_VM))).toBeNull();
    expect(findTpu(machine({}))).toBeNull();
  });
});

describe("tpuEnvironment", () => {
  const v5e8 = { chips: 8, generation: "v5e" };

  it("describes one host, whatever the slice's own variables say", () => {
    const slice = {
      TPU_WORKER_ID: "5",
      WORKER_ID: "5",
      TPU_WORKER_HOSTNAMES: "a,b,c,d,e,f",
      TPU_HOST_BOUNDS: "2,3,1",
      TPU_PROCESS_ADDRESSES: "a:8476,b:8476",
      MEGASCALE_NUM_SLICES: "2",
      MEGASCALE_PORT: "8080",
    };
    const env = tpuEnvironment(slice, v5e8);
    expect(env).toMatchObject({
      TPU_SKIP_MDS_QUERY: "1",
      TPU_WORKER_ID: "0",
      TPU_WORKER_HOSTNAMES: "localhost",
      TPU_HOST_BOUNDS: "1,1,1",
      TPU_PROCESS_BOUNDS: "1,1,1",
      TPU_CHIPS_PER_HOST_BOUNDS: "2,4,1",
      TPU_CHIPS_PER_PROCESS_BOUNDS: "2,4,1",
    });
    const removed = ["WORKER_ID", "TPU_PROCESS_ADDRESSES", "MEGASCALE_NUM_SLICES", "MEGASCALE_PORT"];
    expect(Object.keys(env)).toEqual(expect.arrayContaining(removed));
    expect(removed.map((name) => env[name])).toEqual(removed.map(() => undefined));
  });

  it.each([
    [1, "1,1,1"],
    [2, "1,2,1"],
    [4, "2,2,1"],
    [8, "2,4,1"],
  ])("lays out %d chips as %s", (chips, bounds) => {
    expect(tpuEnvironment({}, { chips, generation: null }).TPU_CHIPS_PER_PROCESS_BOUNDS).toBe(bounds);
  });

  it("takes the chips that the user leaves visible", () => {
    expect(tpuEnvironment({ TPU_VISIBLE_CHIPS: "3" }, v5e8).TPU_CHIPS_PER_PROCESS_BOUNDS).toBe("1,1,1");
    expect(tpuEnvironment({ TPU_VISIBLE_DEVICES: "0,1,2,3" }, v5e8).TPU_CHIPS_PER_PROCESS_BOUNDS).toBe(
      "2,2,1",
    );
  });

  it("leaves the topology to the user who says so", () => {
    expect(tpuEnvironment({ SLUICE_TPU_TOPOLOGY: "keep", TPU_WORKER_ID: "5" }, v5e8)).toEqual({
      TPU_SKIP_MDS_QUERY: "1",
    });
    expect(tpuEnvironment({ TPU_SKIP_MDS_QUERY: "false" }, v5e8).TPU_SKIP_MDS_QUERY).toBe("false");
  });
});

it("knows libtpu by its name", () => {
  expect(["/lib/libtpu.so", "libtpu-0.52.so"].map(isLibtpu)).toEqual([true, true]);
  expect(["/libtpu/other.so", "pjrt_c_api_cpu_plugin.so"].map(isLibtpu)).toEqual([false, false]);
});
