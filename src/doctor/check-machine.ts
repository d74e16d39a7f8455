// This machine: Node's version, processor, memory, room for shards under way; and the variables that change what Sluice does.

import { readFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { formatBytes } from "../base/format-bytes.js";
import { plural } from "../base/plural.js";
import { redact } from "../base/redact.js";
import { machineMemory } from "../run/machine-memory.js";
import { nodeFileSystem } from "../store/file-system.js";
import { type Finding, findingsOf } from "./finding.js";

const machine = findingsOf("machine");
const environment = findingsOf("environment");
const OLDEST_NODE = [20, 19] as const;
const LITTLE_MEMORY = 2e9;
/** Two shards of the default size: one is computed while the one before is uploaded. */
const SPOOL_BYTES = 2e9;
/** What ONNX Runtime's kernels for x86 are written for, best first. */
const USEFUL_FLAGS = ["amx_bf16", "avx512_bf16", "avx512f", "avx2"];

/** Node, processor and memory. */
export function* checkMachine(): Generator<Finding> {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const isOld = major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1]);
  if (isOld)
    yield machine.failure(`Node ${process.versions.node}`, `Install Node ${OLDEST_NODE.join(".")} or newer.`);
  else yield machine.ok(`Node ${process.versions.node}`);
  const flags = readCpuFlags();
  const best = USEFUL_FLAGS.filter((flag) => flags.includes(flag));
  const cpu = `${cpus()[0]?.model.trim() || process.arch}, ${plural(availableParallelism(), "thread")}`;
  if (process.arch === "x64" && flags.length > 0 && best.length === 0)
    yield machine.warning(
      `${cpu}, without AVX2`,
      "Use a newer processor: the engine is several times slower on this one.",
    );
  else yield machine.ok(best.length > 0 ? `${cpu} (${best.join(", ")})` : cpu);
  const memory = machineMemory();
  const text = `${formatBytes(memory)} of memory`;
  if (memory < LITTLE_MEMORY)
    yield machine.warning(text, "Use a larger machine: a worker takes 0.5 GB besides the model's weights.", {
      memory,
    });
  else yield machine.ok(text, { memory });
}

/** The disk of the folder for shards under way. */
export async function checkSpool(folder: string): Promise<Finding> {
  const free = (await nodeFileSystem.freeSpace?.(folder)) ?? 0;
  const text = `${formatBytes(free)} are free for shards under way in ${folder}`;
  if (free >= SPOOL_BYTES) return machine.ok(text, { free });
  return machine.warning(text, "Name another folder with --spool: two shards of 1 GB lie there at a time.", {
    free,
  });
}

/** Variables that apply, and whether their values may be shown. */
const VARIABLES: Readonly<Record<string, "shown" | "hidden">> = {
  ...Object.fromEntries(
    [
      "MODEL_PATH",
      "DATASET_DIR",
      "OUTPUT_DIR",
      "CHECKPOINT_DIR",
      "GCS_BUCKET",
      "GCS_PREFIX",
      "UPLOAD_TO_GCS",
      "BATCH_SIZE",
      "SHARD_SIZE_GB",
      "MAX_SEQ_LENGTH",
      "TPU_WORKER_ID",
      "WORKER_ID",
      "JOB_COMPLETION_INDEX",
      "SLURM_ARRAY_TASK_ID",
      "SKYPILOT_NODE_RANK",
      "GOOGLE_APPLICATION_CREDENTIALS",
      "GOOGLE_CLOUD_PROJECT",
      "STORAGE_EMULATOR_HOST",
      "AWS_PROFILE",
      "AWS_REGION",
      "AWS_DEFAULT_REGION",
      "AWS_ENDPOINT_URL",
      "AWS_ENDPOINT_URL_S3",
      "AWS_ROLE_ARN",
      "HF_HOME",
      "HF_HUB_CACHE",
      "HF_ENDPOINT",
      "HF_HUB_OFFLINE",
      "XDG_CACHE_HOME",
      "HTTP_PROXY",
      "HTTPS_PROXY",
      "NO_PROXY",
      "NODE_OPTIONS",
      "NODE_EXTRA_CA_CERTS",
      "NO_COLOR",
    ].map((name) => [name, "shown"] as const),
  ),
  AWS_ACCESS_KEY_ID: "hidden",
  AWS_SECRET_ACCESS_KEY: "hidden",
  AWS_SESSION_TOKEN: "hidden",
  HF_TOKEN: "hidden",
  HUGGING_FACE_HUB_TOKEN: "hidden",
};

/** The variables that are set; never a secret one's value, nor a password inside a URL. */
export function* checkEnvironment(env: Readonly<Record<string, string | undefined>>): Generator<Finding> {
  for (const [name, how] of Object.entries(VARIABLES)) {
    const value = env[name];
    if (value === undefined || value === "") continue;
    yield environment.ok(how === "hidden" ? `${name} is set` : `${name}=${redact(value, 200)}`);
  }
  if (env.NODE_TLS_REJECT_UNAUTHORIZED === "0")
    yield environment.warning(
      "NODE_TLS_REJECT_UNAUTHORIZED=0: certificates are not checked",
      "Unset it, and name your own authority's certificate with NODE_EXTRA_CA_CERTS.",
    );
}

function readCpuFlags(): readonly string[] {
  try {
    return (
      /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1]?.trim().split(/\s+/) ??
      []
    );
  } catch {
    return []; // Only Linux tells.
  }
}
