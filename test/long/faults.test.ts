// Every fault in a run that starts from nothing.

import { sweepFaults } from "./fault-sweeps.suite.js";

sweepFaults({ name: "a new run", format: "safetensors", isThorough: true });
