// Files of Python packages, from the index that pip would ask (PEP 503, PEP 691): the libraries of accelerators are published
// there. No Python is needed; where pip is installed it is asked first, because it knows the site's proxies and credentials.

import { execFile } from "node:child_process";
import { createWriteStream } from "node:fs";
import { readdir, readFile, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { z } from "zod";
import { messageOf, SluiceError } from "../base/errors.js";
import { hideSecrets } from "../base/redact.js";
import { sha256OfFile } from "../base/sha256.js";

/** What pip asks where nothing else is configured. */
const DEFAULT_INDEX = "https://pypi.org/simple";
const ATTEMPTS = 3;
const SILENCE_MS = 60_000;

type Environment = Readonly<Record<string, string | undefined>>;

/** A package of one version. */
export interface PythonPackage {
  readonly name: string;
  readonly version: string;
}

/** A file as the index lists it. */
export interface IndexFile {
  readonly name: string;
  readonly url: string;
  /** As the index gives it, in hex. */
  readonly sha256: string;
}

/** A wheel on the disk. */
export interface Wheel {
  readonly file: string;
  readonly name: string;
  readonly sha256: string;
}

/** What a download tells while it goes on. */
export type DownloadProgress = (done: number, total: number | undefined) => void;

const listingSchema = z.object({
  files: z.array(
    z.object({ filename: z.string(), url: z.string(), hashes: z.record(z.string(), z.string()) }),
  ),
});

/** The index: PIP_INDEX_URL, UV_DEFAULT_INDEX, pip's configuration files, else PyPI. */
export async function readIndexUrl(env: Environment = process.env, home = homedir()): Promise<string> {
  const given = env.PIP_INDEX_URL || env.UV_DEFAULT_INDEX;
  if (given) return given.replace(/\/+$/, "");
  const files = [
    env.PIP_CONFIG_FILE,
    env.VIRTUAL_ENV && join(env.VIRTUAL_ENV, "pip.conf"),
    join(env.XDG_CONFIG_HOME || join(home, ".config"), "pip/pip.conf"),
    join(home, ".pip/pip.conf"),
    "/etc/xdg/pip/pip.conf",
    "/etc/pip.conf",
  ];
  for (const file of files) {
    if (!file) continue;
    const text = await readFile(file, "utf8").catch(() => "");
    const found = /^\s*index[-_]url\s*[=:]\s*(\S+)/m.exec(text)?.[1];
    if (found) return found.replace(/\/+$/, "");
  }
  return DEFAULT_INDEX;
}

/**
 * The wheel of a package for this machine's processor, downloaded into `folder`, its SHA-256 being what the index says.
 * @throws SluiceError `config` where the index has no such wheel, `store` where it cannot be reached or the bytes are others.
 */
export async function downloadWheel(
  wanted: PythonPackage,
  folder: string,
  onProgress: DownloadProgress = () => {},
  env: Environment = process.env,
): Promise<Wheel> {
  const byPip = await downloadByPip(wanted, folder, env);
  if (typeof byPip !== "string") return byPip;
  const index = await readIndexUrl(env);
  try {
    const file = chooseWheel(await listFiles(index, wanted.name), wanted, index);
    return await downloadFile(index, file, folder, onProgress);
  } catch (error) {
    if (!(error instanceof SluiceError) || byPip === "") throw error;
    throw new SluiceError(error.kind, `${error.message} (pip before that: ${byPip})`, { cause: error });
  }
}

/** Asks pip, which checks the index's hash itself. @returns the wheel, or why pip gave none: "" where there is no pip. */
async function downloadByPip(
  { name, version }: PythonPackage,
  folder: string,
  env: Environment,
): Promise<Wheel | string> {
  const pip = ["-m", "pip", "--disable-pip-version-check"];
  const run = promisify(execFile);
  const options = { env: { ...env } as NodeJS.ProcessEnv, maxBuffer: 2 ** 24 };
  try {
    await run("python3", [...pip, "--version"], options);
  } catch {
    return "";
  }
  const download = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder];
  try {
    await run("python3", [...pip, ...download, `${name}==${version}`], options);
  } catch (error) {
    const said = (error as { stderr?: string }).stderr ?? messageOf(error);
    const lines = said.split("\n").filter((line) => /^ERROR/.test(line));
    return hideSecrets(lines.at(-1) ?? "it failed");
  }
  const wheel = (await readdir(folder)).find((file) => file.endsWith(".whl"));
  if (wheel === undefined) return "it left no wheel";
  const file = join(folder, wheel);
  return { file, name: wheel, sha256: await sha256OfFile(file) };
}

/** Everything that the index has of a project. @throws SluiceError */
export async function listFiles(index: string, project: string): Promise<IndexFile[]> {
  const url = `${index}/${project.toLowerCase().replace(/[-_.]+/g, "-")}/`;
  const accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";
  return withAttempts(index, async () => {
    const { response } = await request(url, { accept });
    const text = await response.text();
    if (response.headers.get("content-type")?.includes("json")) {
      return listingSchema.parse(JSON.parse(text)).files.map(({ filename, url: at, hashes }) => ({
        name: filename,
        url: new URL(at, response.url).href,
        sha256: hashes.sha256 ?? "",
      }));
    }
    return Array.from(
      text.matchAll(/<a\s[^>]*href="([^"]+)"[^>]*>([^<]+)<\/a>/g),
      ([, href = "", name = ""]) => {
        const at = new URL(href.replaceAll("&amp;", "&"), response.url);
        const sha256 = /^#sha256=([0-9a-f]{64})$/.exec(at.hash)?.[1] ?? "";
        at.hash = "";
        return { name: name.trim(), url: at.href, sha256 };
      },
    );
  });
}

/** The wheel of that version for this processor. Which Python it is for does not matter: only a library is taken from it. */
function chooseWheel(
  files: readonly IndexFile[],
  { name, version }: PythonPackage,
  index: string,
): IndexFile {
  const processor = { x64: "x86_64", arm64: "aarch64" }[process.arch as string] ?? process.arch;
  const start = `${name.replaceAll("-", "_")}-${version}-`;
  const wheels = files.filter((file) => file.name.startsWith(start) && file.name.endsWith(".whl"));
  const fit = wheels.filter((file) => file.name.includes("linux") && file.name.includes(processor)).at(-1);
  if (fit && fit.sha256 !== "") return fit;
  throw new SluiceError("config", `${hideSecrets(index)} has no ${name} ${version} for ${processor} Linux`, {
    found: fit
      ? `${fit.name} without a SHA-256`
      : wheels.map((file) => file.name).join(", ") || `${files.length} other files`,
    fix: "Name another version, or another index with PIP_INDEX_URL.",
  });
}

async function downloadFile(
  index: string,
  { name, url, sha256 }: IndexFile,
  folder: string,
  onProgress: DownloadProgress,
): Promise<Wheel> {
  const file = join(folder, name);
  await withAttempts(index, async () => {
    const { response, touch } = await request(withCredentialsOf(index, url), {});
    const length = Number(response.headers.get("content-length") ?? Number.NaN);
    let done = 0;
    const count = new Transform({
      transform(piece: Buffer, _encoding, next) {
        done += piece.length;
        touch();
        onProgress(done, Number.isNaN(length) ? undefined : length);
        next(null, piece);
      },
    });
    if (!response.body) throw new Error("the reply is empty");
    await pipeline(Readable.fromWeb(response.body as never), count, createWriteStream(file));
    if (!Number.isNaN(length) && done !== length)
      throw new Error(`the connection closed after ${done} of ${length} bytes`);
  });
  const found = await sha256OfFile(file);
  if (found === sha256) return { file, name, sha256 };
  await rm(file, { force: true });
  throw new SluiceError("store", `${name} came with other bytes than the index promises`, {
    found: `SHA-256 ${found}`,
    expected: sha256,
    fix: "Nothing was installed. Try again; if it stays so, do not trust this index or the way to it.",
  });
}

/** Sends a request; credentials of the URL go into a header, as fetch wants it. `touch` puts off the end of patience. */
async function request(
  url: string,
  headers: Readonly<Record<string, string>>,
): Promise<{ readonly response: Response; readonly touch: () => void }> {
  const at = new URL(url);
  const { username, password } = at;
  at.username = "";
  at.password = "";
  const login = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString(
    "base64",
  );
  const authorization: Record<string, string> = username ? { authorization: `Basic ${login}` } : {};
  const silence = new AbortController();
  const timer = setTimeout(
    () => silence.abort(new Error(`nothing came for ${SILENCE_MS / 1000} s`)),
    SILENCE_MS,
  );
  timer.unref();
  const response = await fetch(at, {
    headers: { ...headers, ...authorization, "user-agent": "sluice" },
    signal: silence.signal,
  });
  if (response.ok) return { response, touch: () => timer.refresh() };
  await response.body?.cancel();
  if (response.status === 429 || response.status >= 500) throw new Error(`status ${response.status}`);
  throw new SluiceError("config", `${at.origin}${at.pathname} cannot be had`, {
    found: `status ${response.status}`,
    fix: "Check the index: PIP_INDEX_URL or pip's configuration names it.",
  });
}

/** Tries again what goes wrong on the way. @throws SluiceError `store` after the last attempt; others as they come. */
async function withAttempts<T>(index: string, act: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await act();
    } catch (error) {
      const code = (error as { code?: unknown }).code;
      if (error instanceof SluiceError || code === "ENOSPC" || code === "EACCES") throw error;
      const inner = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : "";
      if (attempt >= ATTEMPTS)
        throw new SluiceError("store", `${hideSecrets(index)} cannot be reached`, {
          found: messageOf(error) + inner,
          fix: "Try again; PIP_INDEX_URL names another index.",
          cause: error,
        });
      await sleep(250 * 2 ** attempt);
    }
  }
}

/** Files on the index's own host need its credentials too; other hosts never get them. */
function withCredentialsOf(index: string, url: string): string {
  const from = new URL(index);
  const at = new URL(url);
  if (at.origin === from.origin && at.username === "") {
    at.username = from.username;
    at.password = from.password;
  }
  return at.href;
}
