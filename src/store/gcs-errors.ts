// What refusals of Google Cloud Storage mean to a user.

import { SluiceError } from "../base/errors.js";
import type { HttpReply } from "./http.js";
import type { RequestFailure } from "./retry.js";

/** The error that an answer means which trying again does not change; undefined where nothing is known of it. */
export function explainRefusal(
  failure: RequestFailure,
  request: string,
  bucket: string,
): SluiceError | undefined {
  const found = `HTTP ${failure.status}: ${failure.message}`;
  switch (failure.status) {
    case 401:
    case 403:
      return new SluiceError("config", `no permission to ${request} in gs://${bucket}`, {
        found,
        expected: "roles/storage.objectAdmin on the bucket, or objects.create, get, list and delete",
        fix: "Grant it to the account of this machine, or use other credentials (docs/stores.md).",
        values: { bucket, request },
      });
    case 404:
      return noBucket(bucket, found);
    default:
      return undefined;
  }
}

/** The error of a bucket that is not there. */
export function noBucket(bucket: string, found: string): SluiceError {
  return new SluiceError("config", `there is no bucket gs://${bucket}`, {
    found,
    fix: `Check the name, or create it: gcloud storage buckets create gs://${bucket}`,
    values: { bucket },
  });
}

/** Whether a 404 speaks of the bucket, not of an object in it. */
export function isBucketMissing(reply: HttpReply): boolean {
  return reply.status === 404 && /\bbucket does not exist\b/i.test(reply.body.subarray(0, 4096).toString());
}

/** Whether an upload was refused because its bytes are not those of the checksum that was sent with them. */
export function isDamaged(reply: HttpReply): boolean {
  return (
    reply.status === 400 && /crc32c|md5|checksum|\bhash\b/i.test(reply.body.subarray(0, 4096).toString())
  );
}
