// An object store, reduced to what a log of commits needs: six verbs. Create-only is the one that carries the promise
// "each sample exactly once"; everything else may be slow, stale or repeated without harm.

import { compareNames } from "./names.js";

/** What a store says of one object. */
export interface Stored {
  /** Relative to the store's root, '/'-separated. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Changes whenever the content changes; opaque. A hint only: it differs after a run is copied. */
  readonly version: string;
  /** CRC32C of the content, eight hexadecimal digits, where the store knows it without reading; else undefined. */
  readonly crc32c?: string;
}

/**
 * What is to be stored: bytes in memory, or a finished local file. A store on the same file system links the file
 * itself (the file is then the object and must not be changed any more); others upload it. The caller removes the file's own name.
 */
export type Body = Uint8Array | { readonly file: string; readonly size: number; readonly crc32c: string };

/** An upload in parts that has begun and neither ended nor been given up. */
export interface UnfinishedUpload {
  /** The object that it was to become. */
  readonly name: string;
  /** The store's own name for the upload. */
  readonly id: string;
}

/** A part of a listing: names from `from` on, and before `to`. */
export interface NameRange {
  readonly from?: string;
  readonly to?: string;
}

/** An object store. Names are relative, '/'-separated and checked ({@link checkName}). */
export interface Store {
  /** Where it is, for messages: a path or `gs://bucket/prefix`. Holds no credentials. */
  readonly uri: string;
  /** A local folder whose finished files become objects without a copy, where there is such a folder. */
  readonly spool?: string;
  /**
   * Creates the object if the name is free; 'exists' when it is taken, and the caller decides what that means.
   * Resolves when the object is durable; never leaves a part of it under the name.
   * @throws SluiceError `store` when the store cannot be reached after retries or is full; `config` when it cannot create-only.
   */
  create(name: string, body: Body, options?: { signal?: AbortSignal }): Promise<Stored | "exists">;
  /** Creates or overwrites. For heartbeats and derived files alone; readers never see a mixture of old and new. */
  replace(name: string, body: Uint8Array, options?: { signal?: AbortSignal }): Promise<Stored>;
  /** The object's facts, or null when there is none by that name. */
  head(name: string): Promise<Stored | null>;
  /**
   * The bytes, or those of [start, end).
   * @throws SluiceError `data` when there is no such object or it is shorter than the range.
   */
  read(name: string, range?: { readonly start: number; readonly end: number }): Promise<Uint8Array>;
  /**
   * The objects whose names start with the prefix, in ascending order of name (by Unicode code point).
   * @param range only these names: ranges are listed side by side ({@link listInParallel}).
   */
  list(prefix: string, range?: NameRange): AsyncIterable<Stored>;
  /** Removes the object if it still has that version; no error when it is gone or another. */
  remove(name: string, version: string): Promise<void>;
  /**
   * Unfinished uploads, of a store that keeps them (and bills them) until somebody gives them up: for `gc`. Absent where there is
   * no such thing, or the store forgets them by itself (GCS: after a week).
   */
  readonly uploads?: {
    list(prefix: string): AsyncIterable<UnfinishedUpload>;
    /** No error when it is gone. */
    abort(upload: UnfinishedUpload): Promise<void>;
  };
}

/** Whether the store is a service that answers (and bills) each request, and not a folder. */
export function isRemote(store: Store): boolean {
  return store.spool === undefined;
}

/** Whether a name lies in the range. */
export function isInRange(name: string, { from, to }: NameRange = {}): boolean {
  return (
    (from === undefined || compareNames(name, from) >= 0) && (to === undefined || compareNames(name, to) < 0)
  );
}
