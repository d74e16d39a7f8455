// One spelling for each JSON value, so that equal identities have equal hashes on every machine.

import { createHash } from "node:crypto";

/** A value that JSON can hold. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json | undefined };

/**
 * JSON with the keys of every object sorted and no white space (RFC 8785 for the values used here).
 * Members whose value is undefined are left out, as `JSON.stringify` does.
 */
export function canonicalJson(value: Json): string {
  return JSON.stringify(sortKeys(value));
}

/** The SHA-256 of {@link canonicalJson}, in hexadecimal. */
export function hashJson(value: Json): string {
  return createHash("sha256").update(canonicalJson(value)).digest("hex");
}

function sortKeys(value: Json | undefined): Json | undefined {
  if (Array.isArray(value)) return value.map((item) => sortKeys(item) ?? null);
  if (value === null || typeof value !== "object") return value;
  const object = value as { readonly [key: string]: Json | undefined };
  return Object.fromEntries(
    Object.keys(object)
      .sort()
      .map((key) => [key, sortKeys(object[key])]),
  );
}
