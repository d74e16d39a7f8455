// Requests to the Hub: what goes wrong for a while is tried again, and what the Hub refuses is said in words that help.

import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, SluiceError } from "../base/errors.js";
import { describeRepo, type HubRepo } from "./repo.js";
import type { HubSettings } from "./settings.js";

const ATTEMPTS = 5;

/** One conversation about one repository. */
export interface HubClient {
  readonly settings: HubSettings;
  readonly repo: HubRepo;
  readonly signal: AbortSignal | undefined;
  /** Milliseconds before the second attempt; each later one waits twice as long. */
  readonly retryMs: number;
  /** A connection on which nothing comes for so long is given up. */
  readonly silenceMs: number;
}

/** The Hub cannot be reached, or does not work, after several attempts. */
export class HubUnreachable extends SluiceError {
  constructor({ settings, repo }: HubClient, cause: unknown) {
    super("store", `${settings.endpoint} cannot be reached for ${describeRepo(repo)}`, {
      found: describeCause(cause),
      fix: "Try again; HF_ENDPOINT names a mirror, HF_HUB_OFFLINE=1 uses the cache alone.",
      cause,
    });
  }
}

/**
 * Fetches with the token, for the Hub alone: a redirect to another host loses it (Fetch standard). A reply that begins to
 * come is the caller's; until then silence, network errors, 429 and 5xx are tried again.
 * @throws SluiceError `config` where the Hub says no, {@link HubUnreachable} where it says nothing.
 */
export async function requestHub(
  client: HubClient,
  url: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  const { settings, signal, retryMs, silenceMs } = client;
  const authorization: Record<string, string> =
    settings.token === null ? {} : { authorization: `Bearer ${settings.token}` };
  let cause: unknown;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (attempt > 0) await sleep(retryMs * 2 ** (attempt - 1), undefined, { signal });
    signal?.throwIfAborted();
    const silence = new AbortController();
    const timer = setTimeout(
      () => silence.abort(new Error(`no answer for ${silenceMs / 1000} s`)),
      silenceMs,
    );
    try {
      const response = await fetch(url, {
        headers: { ...headers, ...authorization, "user-agent": "sluice" },
        signal: AbortSignal.any([silence.signal, ...(signal ? [signal] : [])]),
      });
      if (response.ok || response.status === 416) return response;
      if (response.status !== 429 && response.status < 500) throw await describeRefusal(client, response);
      cause = new Error(`status ${response.status}`);
      await response.body?.cancel();
    } catch (error) {
      if (error instanceof SluiceError) throw error;
      signal?.throwIfAborted();
      cause = error;
    } finally {
      clearTimeout(timer);
    }
  }
  throw new HubUnreachable(client, cause);
}

/** The Hub's error codes are in a header (huggingface_hub, utils/_http.py). */
async function describeRefusal({ repo, settings }: HubClient, response: Response): Promise<SluiceError> {
  const code = response.headers.get("x-error-code") ?? "";
  const said = response.headers.get("x-error-message") ?? "";
  await response.body?.cancel();
  const { status } = response;
  const what = describeRepo(repo);
  const page = `${settings.endpoint}/${repo.kind === "model" ? "" : "datasets/"}${repo.name}`;
  const found = `status ${status}${code ? ` ${code}` : ""}${said ? `: ${said}` : ""}`;
  const login = settings.token === null ? "set HF_TOKEN" : "use a token (HF_TOKEN) of an account that may";
  if (code === "GatedRepo" || status === 403) {
    return new SluiceError("config", `access to ${what} is restricted`, {
      found,
      fix: `Accept its conditions at ${page}, then ${login}.`,
    });
  }
  if (code === "RevisionNotFound") {
    return new SluiceError("config", `${what}: there is no such revision`, {
      found: repo.revision,
      fix: `See ${page}/tree/main.`,
    });
  }
  if (code === "EntryNotFound")
    return new SluiceError(
      "config",
      `${what} has no file ${decodeURIComponent(new URL(response.url).pathname)}`,
      { found },
    );
  if (status === 401 || status === 404) {
    return new SluiceError("config", `there is no ${what} at ${settings.endpoint}, or it is private`, {
      found,
      fix: `Check its spelling (a folder's path begins with ./ or /); for a private one ${login}.`,
    });
  }
  return new SluiceError("config", `${settings.endpoint} refuses ${what}`, { found });
}

function describeCause(error: unknown): string {
  const inner = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : "";
  return messageOf(error) + inner;
}
