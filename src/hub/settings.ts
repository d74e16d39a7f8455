// The environment that every Hugging Face tool reads: where the Hub is, where its cache is, who asks, and whether the
// network may be used (huggingface_hub, constants.py).

import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";

type Environment = Readonly<Record<string, string | undefined>>;

/** Where and how to ask the Hub. */
export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  /** The folder of models--*, datasets--*. */
  readonly cache: string;
  readonly token: string | null;
  readonly isOffline: boolean;
}

/** HF_ENDPOINT, HF_HUB_CACHE or HF_HOME, HF_TOKEN or the file that `hf auth login` writes, HF_HUB_OFFLINE. */
export async function readHubSettings(env: Environment = process.env): Promise<HubSettings> {
  const given = (...names: readonly string[]) => names.map((name) => env[name]).find((value) => value);
  const home = expand(given("HF_HOME") ?? join(given("XDG_CACHE_HOME") ?? "~/.cache", "huggingface"));
  const tokenFile = expand(given("HF_TOKEN_PATH") ?? join(home, "token"));
  return {
    endpoint: (given("HF_ENDPOINT") ?? "https://huggingface.co").replace(/\/+$/, ""),
    cache: expand(given("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") ?? join(home, "hub")),
    token: given("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")?.trim() || (await readToken(tokenFile)),
    isOffline: [env.HF_HUB_OFFLINE, env.TRANSFORMERS_OFFLINE].some((value) =>
      /^(1|true|yes|on)$/i.test(value ?? ""),
    ),
  };
}

async function readToken(file: string): Promise<string | null> {
  try {
    return (await readFile(file, "utf8")).trim() || null;
  } catch {
    return null; // Not logged in.
  }
}

function expand(path: string): string {
  return resolve(path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : path);
}
