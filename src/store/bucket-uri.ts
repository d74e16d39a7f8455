// `gs://bucket/prefix` and `s3://bucket/prefix`, taken apart and put together again.

import { SluiceError } from "../base/errors.js";
import { isName } from "./names.js";

/** A place in a bucket. */
export interface BucketPlace {
  readonly bucket: string;
  /** What names of objects begin with: empty, or ending in a slash. */
  readonly prefix: string;
  /** The address in its usual form, without a slash at its end. */
  readonly uri: string;
}

/** The parts of an address. @throws SluiceError `config` where it is none. */
export function parseBucketUri(uri: string): BucketPlace {
  const [, scheme = "", bucket = "", folder = ""] =
    /^(gs|s3):\/\/([^/?#@]+)(?:\/+(.*?))?\/*$/i.exec(uri) ?? [];
  if (bucket === "" || (folder !== "" && !isName(folder)))
    throw new SluiceError("config", "this is no address of a bucket", {
      found:
        bucket === ""
          ? `${uri.slice(0, 5)} without a bucket's name, or with more than that`
          : JSON.stringify(folder),
      expected: `${uri.slice(0, 5)}bucket/prefix, the prefix without '.', '..' and empty parts`,
    });
  const root = `${scheme.toLowerCase()}://${bucket}`;
  return folder === ""
    ? { bucket, prefix: "", uri: root }
    : { bucket, prefix: `${folder}/`, uri: `${root}/${folder}` };
}

/**
 * The scheme of `gs://bucket/prefix` and the like, in lower case; undefined for a path.
 * @throws SluiceError `config` for `gs:/bucket`, which libraries of paths make of `gs://bucket`: it would be a local folder `gs:`.
 */
export function schemeOf(place: string): string | undefined {
  const [, scheme, rest] = /^(gs|s3):\/(?!\/)(.*)/is.exec(place) ?? [];
  if (scheme !== undefined)
    throw new SluiceError("config", "this is no address of a bucket", {
      found: place,
      expected: `${scheme.toLowerCase()}://${rest}, or ./${place} for a local folder of that name`,
    });
  return /^([a-z][a-z0-9+.-]*):\/\//i.exec(place)?.[1]?.toLowerCase();
}
