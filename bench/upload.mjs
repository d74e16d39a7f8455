// The upload path alone: one shard from a spool file to a server on this machine, in a process of its own, which sums the bytes
// and drops them. The ratio is to one plain HTTP PUT of the same file with Node's own client to a server that does just that.
// node bench/upload.mjs [gs|s3] [gigabytes] [rounds] (after npm run build); SLUICE_TEST_VERSITYGW=program: that as the S3 server,
// which hashes the bytes and writes them to files: its own limit is measured beside, by plain signed PUTs of the file's eighths at once.

import { fork, spawn } from "node:child_process";
import { createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import {
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { createServer, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { crc32c } from "@node-rs/crc32";
import { runnerImport } from "vite";
import { formatCrc } from "../dist/base/crc.js";
import { uploadMemory } from "../dist/store/parts.js";
import { StoreStatistics } from "../dist/store/statistics.js";
import { openStore } from "../dist/store/stores.js";
import { describeMachine } from "./machine.mjs";

const [kind = "gs", gigabytes = "1", rounds = "3"] = process.argv.slice(2);
const gateway = process.env.SLUICE_TEST_VERSITYGW;
if (process.send) await serve();
else await measure();

/** The servers, in the child: the store, and a sink for the plain PUT. */
async function serve() {
  const sink = createServer(async (incoming, response) => {
    let sum = 0;
    for await (const piece of incoming) sum = crc32c(piece, sum);
    response.end(formatCrc(sum));
  });
  await new Promise((resolve) => sink.listen(0, "127.0.0.1", resolve));
  const load = async (file) =>
    (await runnerImport(fileURLToPath(new URL(`../test/${file}`, import.meta.url)))).module;
  let env = {};
  if (kind === "gs") {
    const { FakeGcs } = await load("fake-gcs.ts");
    const server = await new FakeGcs().start();
    server.keep = false;
    env = { STORAGE_EMULATOR_HOST: server.url };
  } else if (gateway === undefined) {
    const { FakeS3 } = await load("fake-s3.ts");
    const server = await FakeS3.start();
    server.keep = false;
    env = server.env;
  }
  process.send({ env, sink: `http://127.0.0.1:${sink.address().port}/` });
}

/** versitygw on a folder of its own. */
async function startGateway(folder) {
  mkdirSync(join(folder, "buckets", "bucket"), { recursive: true });
  const keys = { ROOT_ACCESS_KEY: "bench", ROOT_SECRET_KEY: "bench-secret" };
  const probe = createServer();
  await new Promise((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  const url = `http://127.0.0.1:${port}`;
  const args = ["--port", `127.0.0.1:${port}`, "posix", join(folder, "buckets")];
  const child = spawn(gateway, args, { env: { PATH: process.env.PATH, ...keys }, stdio: "ignore" });
  for (let tries = 0; tries < 100; tries++) {
    if (
      await fetch(url).then(
        () => true,
        () => false,
      )
    )
      break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const env = {
    AWS_ENDPOINT_URL: url,
    AWS_ACCESS_KEY_ID: "bench",
    AWS_SECRET_ACCESS_KEY: "bench-secret",
    AWS_REGION: "us-east-1",
  };
  return { child, env };
}

async function measure() {
  const folder = mkdtempSync(join(tmpdir(), "sluice-bench-"));
  const child = fork(fileURLToPath(import.meta.url), process.argv.slice(2));
  let server;
  try {
    const [{ env, sink }] = await once(child, "message");
    if (kind === "s3" && gateway !== undefined) server = await startGateway(folder);
    Object.assign(process.env, env, server?.env);
    const { file, size, sum } = makeFile(folder, Number(gigabytes) * 1e9);
    const statistics = new StoreStatistics();
    const store = openStore(`${kind}://bucket/bench`, { statistics });
    const before = process.resourceUsage().maxRSS;
    const upload = [];
    const plain = [];
    const gatewayPuts = [];
    const cpu = { client: 0, server: 0 };
    for (let round = 0; round < Number(rounds); round++) {
      const before = { client: process.cpuUsage(), server: cpuSecondsOf(server?.child ?? child) };
      upload.push(await time(size, () => createOnce(store, round, { file, size, crc32c: sum })));
      const { user, system } = process.cpuUsage(before.client);
      cpu.client += (user + system) / 1e6;
      cpu.server += cpuSecondsOf(server?.child ?? child) - before.server;
      plain.push(await time(size, () => putPlain(sink, file, size, sum)));
      if (server) gatewayPuts.push(await time(size, () => putEighths(server.env, file, size, round)));
    }
    const best = { upload: Math.max(...upload), plain: Math.max(...plain) };
    const gatewayBest = Math.max(...gatewayPuts);
    const sent = (size / 1e9) * upload.length;
    console.log(
      JSON.stringify(
        {
          benchmark: "upload",
          store: kind === "gs" ? "fake-gcs" : server ? "versitygw" : "fake-s3",
          shard_mb: size / 1e6,
          rounds: upload.length,
          upload_mb_s: best.upload,
          plain_put_mb_s: best.plain,
          ratio_to_plain_put: best.upload / best.plain,
          ...(server && {
            eight_puts_to_versitygw_mb_s: gatewayBest,
            ratio_to_eight_puts: best.upload / gatewayBest,
          }),
          cpu_s_a_gb: { client: cpu.client / sent, server: cpu.server / sent },
          requests_a_shard: statistics.total / upload.length,
          peak_memory_growth_mb: ((process.resourceUsage().maxRSS - before) * 1024) / 1e6,
          peak_buffers_mb: uploadMemory.peak / 1e6,
          ...describeMachine(),
        },
        (_, value) => (typeof value === "number" ? Math.round(value * 100) / 100 : value),
        2,
      ),
    );
  } finally {
    child.kill();
    server?.child.kill();
    rmSync(folder, { recursive: true });
  }
}

function makeFile(folder, size) {
  const file = join(folder, "shard");
  const block = Buffer.alloc(16 << 20, "sluice ");
  const handle = openSync(file, "w");
  let sum = 0;
  for (let left = size; left > 0; left -= block.length) {
    const piece = block.subarray(0, Math.min(left, block.length));
    writeSync(handle, piece);
    sum = crc32c(piece, sum);
  }
  closeSync(handle);
  return { file, size, sum: formatCrc(sum) };
}

async function createOnce(store, round, body) {
  const stored = await store.create(`shard-${round}`, body);
  if (stored === "exists" || stored.size !== body.size) throw new Error("the shard was not stored");
  await store.remove(stored.name, stored.version);
}

async function putPlain(url, file, size, sum) {
  const outgoing = request(url, { method: "PUT", headers: { "content-length": size } });
  const answered = once(outgoing, "response");
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), outgoing);
  const [reply] = await answered;
  let text = "";
  for await (const piece of reply) text += piece;
  if (text !== sum) throw new Error(`the plain PUT arrived as ${text}`);
}

/** What the S3 server takes from a client that does nothing but send: eight objects side by side. */
async function putEighths(env, file, size, round) {
  const length = Math.ceil(size / 8);
  const put = async (i) => {
    const [start, end] = [i * length, Math.min(size, (i + 1) * length)];
    const url = new URL(`/bucket/plain-${round}-${i}`, env.AWS_ENDPOINT_URL);
    const headers = { ...signedHeaders("PUT", url, env), "content-length": end - start };
    const outgoing = request(url, { method: "PUT", headers });
    const answered = once(outgoing, "response");
    await pipeline(createReadStream(file, { start, end: end - 1, highWaterMark: 1 << 20 }), outgoing);
    const [reply] = await answered;
    reply.resume();
    if (reply.statusCode !== 200) throw new Error(`a plain PUT was answered with ${reply.statusCode}`);
    await once(reply, "end");
  };
  await Promise.all(Array.from({ length: 8 }, (_, i) => put(i)));
}

/** AWS Signature Version 4, the body unsigned (Amazon S3 API Reference, "Authenticating Requests: Using the Authorization Header"). */
function signedHeaders(method, url, env) {
  const date = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const headers = { host: url.host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": date };
  const names = Object.keys(headers).join(";");
  const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}\n`);
  const canonical = [method, url.pathname, "", lines.join(""), names, "UNSIGNED-PAYLOAD"].join("\n");
  const scope = [date.slice(0, 8), env.AWS_REGION, "s3", "aws4_request"];
  const hash = createHash("sha256").update(canonical).digest("hex");
  const text = ["AWS4-HMAC-SHA256", date, scope.join("/"), hash].join("\n");
  const key = scope.reduce(
    (secret, part) => createHmac("sha256", secret).update(part).digest(),
    `AWS4${env.AWS_SECRET_ACCESS_KEY}`,
  );
  const signature = createHmac("sha256", key).update(text).digest("hex");
  const credential = `${env.AWS_ACCESS_KEY_ID}/${scope.join("/")}`;
  const authorization = `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${names}, Signature=${signature}`;
  return { ...headers, authorization };
}

/** CPU seconds of a process until now, its user and system time (proc(5)); not known but on Linux. */
function cpuSecondsOf({ pid }) {
  const path = `/proc/${pid}/stat`;
  if (!existsSync(path)) return Number.NaN;
  const fields = readFileSync(path, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function time(bytes, action) {
  const started = performance.now();
  await action();
  return bytes / 1e6 / ((performance.now() - started) / 1000);
}
