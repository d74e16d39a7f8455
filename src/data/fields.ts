// A record as its fields, whatever file it came from, and the ways in which fields are named and read.

import { parseJson } from "../base/parse-json.js";

/** A record's columns by name. */
export type Fields = Readonly<Record<string, unknown>>;

/** A record as read from a file: its fields, or in words why its bytes give none. */
export type RawRecord = { readonly fields: Fields } | { readonly unusable: string };

/** Whether the value is an object with named members. */
export function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The column of that name; where there is none, `a.b` is member b of column a. Undefined where neither is there. */
export function fieldAt(fields: Fields, column: string): unknown {
  if (Object.hasOwn(fields, column)) return fields[column];
  let value: unknown = fields;
  for (const name of column.split(".")) {
    if (!isFields(value) || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value;
}

/** A list, also where it is spelt as JSON in a text (as CSV files and some Parquet files have it); else undefined. */
export function listFrom(value: unknown): readonly unknown[] | undefined {
  if (Array.isArray(value)) return value;
  if (typeof value !== "string" || !value.trimStart().startsWith("[")) return undefined;
  try {
    const parsed: unknown = parseJson(value);
    return Array.isArray(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

/** A value as JSON has it: null for nothing, whole numbers that no double holds as text, dates in ISO 8601, bytes as the text that they are, else as {base64}. */
export function asJson(value: unknown): unknown {
  if (value === undefined || value === null) return null;
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (value instanceof Uint8Array) return textOrBase64(value);
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value as unknown[], asJson);
  if (typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, asJson(member)]));
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Some writers of Parquet do not say that a column of bytes is text. */
function textOrBase64(bytes: Uint8Array): unknown {
  try {
    return utf8.decode(bytes);
  } catch {
    return { base64: Buffer.from(bytes).toString("base64") };
  }
}
