// The XLA engine on a CPU plug-in: the shared suite in float32, bfloat16 beside PyTorch's float32, several devices. Needs
// SLUICE_TEST_PJRT_CPU, the library of a PJRT plug-in for CPUs (.ci/run fetches one).

import { describe, expect, it } from "vitest";
import {
  batchOf,
  describeEngine,
  FIXTURES,
  graphOf,
  loadAll,
  readFixture,
  relativeError,
  runTaps,
} from "../../src/engine/engine.suite.js";
import { xlaEngine } from "../../src/engine/xla.js";
import { buildGraph, openModel } from "../../src/model/model.js";

const plugin = process.env.SLUICE_TEST_PJRT_CPU ?? "";
if (plugin === "") console.warn("skipped: the XLA engine, for want of SLUICE_TEST_PJRT_CPU");

describe.skipIf(plugin === "")("the XLA engine on a CPU", () => {
  describeEngine(xlaEngine({ plugin, compute: "float32", threads: 2 }));
});
