// The clock, against that of the store. Sluice never compares two clocks, but stores do: a request whose time is minutes off is refused,
// and so are credentials.

import { type Finding, findingsOf } from "./finding.js";

const { ok, warning } = findingsOf("clock");
const OFF_SECONDS = 120;
const TIMEOUT_MS = 5000;

/** The address that answers with a date, whoever asks; null where the output is no bucket. */
export function clockUrl(output: string, env: Readonly<Record<string, string | undefined>>): string | null {
  const withScheme = (host: string) => (/^https?:\/\//.test(host) ? host : `http://${host}`);
  if (output.startsWith("gs://"))
    return env.STORAGE_EMULATOR_HOST
      ? withScheme(env.STORAGE_EMULATOR_HOST)
      : "https://storage.googleapis.com/";
  if (!output.startsWith("s3://")) return null;
  const endpoint = env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL;
  return endpoint || `https://s3.${env.AWS_REGION || env.AWS_DEFAULT_REGION || "us-east-1"}.amazonaws.com/`;
}

/** Compares clocks. @param url see {@link clockUrl}. */
export async function checkClock(url: string | null, signal?: AbortSignal): Promise<Finding> {
  if (url === null) return ok("no clock matters: nothing that Sluice does compares two of them");
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  try {
    const asked = Date.now();
    const reply = await fetch(url, {
      method: "HEAD",
      redirect: "manual",
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
    const here = (asked + Date.now()) / 2;
    const there = Date.parse(reply.headers.get("date") ?? "");
    if (Number.isNaN(there)) return ok("the store does not tell its time; Sluice itself compares no clocks");
    const off = Math.round((here - there) / 1000);
    const text = `this machine's clock is ${Math.abs(off)} s ${off < 0 ? "behind" : "ahead of"} the store's`;
    if (Math.abs(off) <= OFF_SECONDS) return ok(text, { off_seconds: off });
    return warning(
      text,
      "Set it (timedatectl set-ntp true): stores refuse credentials that seem minutes old.",
      { off_seconds: off },
    );
  } catch {
    signal?.throwIfAborted();
    return ok("the store's time is not known from here; Sluice itself compares no clocks");
  }
}
