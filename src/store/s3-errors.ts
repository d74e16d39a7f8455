// What S3 and its SDK say went wrong, in the terms of retry.ts: is it worth another attempt, and if not, what must the user change?

import { SluiceError } from "../base/errors.js";
import { RequestFailure, retryAfterMs } from "./retry.js";

/** An answer of S3 that is no success. */
export class S3Failure extends RequestFailure {
  /** S3's error code, such as `NoSuchUpload`; for an answer without a body (to HEAD) a guess from its status. */
  readonly code: string;
  /** Where the bucket lies, where the answer says that the request went to another region. */
  readonly region: string | undefined;

  /** @param headers of the answer, by lower-case name. */
  constructor(
    code: string,
    message: string,
    status: number,
    headers: Readonly<Record<string, string | undefined>> = {},
  ) {
    super(code === "Unknown" ? "an answer without a reason" : `${code}: ${message.replace(/\.$/, "")}`, {
      status,
      retryAfterMs: retryAfterMs(headers["retry-after"]),
      ...(RETRYABLE_CODES.has(code) && { isRetryable: true }),
    });
    this.name = "S3Failure";
    this.code = code;
    this.region = status === 301 || status === 400 ? headers["x-amz-bucket-region"] : undefined;
  }
}

/** To be tried again whatever their status is (Amazon S3 API Reference, "Error responses"); the SDK has set its clock right by then. */
const RETRYABLE_CODES: ReadonlySet<string> = new Set([
  "BadDigest", // The bytes were changed on their way.
  "ConditionalRequestConflict",
  // versitygw's word also for a folder that vanished with its last object just as another object was put there (PutObject in
  // backend/posix/posix.go, 1.8.0: whatever mkdirAll or link fails with). No name of ours is that of a folder.
  "ExistingObjectIsDirectory",
  "IncompleteBody",
  "InternalError",
  "MalformedXML", // What we send is well-formed.
  "OperationAborted",
  "RequestTimeout",
  "RequestTimeTooSkewed",
  "ServiceUnavailable",
  "SlowDown",
  "XAmzContentSHA256Mismatch",
]);
const UNKNOWN_KEYS: ReadonlySet<string> = new Set([
  "AuthorizationHeaderMalformed",
  "InvalidAccessKeyId",
  "SignatureDoesNotMatch",
  "XAdminUserNotFound", // versitygw's word for InvalidAccessKeyId.
]);
const EXPIRED: ReadonlySet<string> = new Set(["ExpiredToken", "InvalidToken", "TokenRefreshRequired"]);

/** The error that an SDK call raised, as a {@link S3Failure} where S3 answered; a failure to be tried again where its reply was not to be understood. */
export function fromSdk(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof RequestFailure) return error;
  const { $metadata, $response } = error as SdkError;
  const status = $metadata?.httpStatusCode ?? $response?.statusCode;
  // The SDK says 503 of an error that came with status 200, as CompleteMultipartUpload may send it: its code tells what it is.
  if (status !== undefined && status >= 300)
    return new S3Failure(error.name, error.message, status, $response?.headers);
  if (error.name === "TimeoutError" || status !== undefined) return new RequestFailure(error.message);
  return error;
}

interface SdkError {
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly $response?: { readonly statusCode?: number; readonly headers?: Record<string, string> };
}

/** The name is taken: If-None-Match was not met; or If-Match. */
export function isPreconditionFailed(error: unknown): boolean {
  return error instanceof S3Failure && (error.status === 412 || error.code === "PreconditionFailed");
}

/** Another write to the same name is under way. */
export function isConflict(error: unknown): boolean {
  return error instanceof S3Failure && error.code === "ConditionalRequestConflict";
}

/** There is no such object, or no such upload. */
export function isGone(error: unknown): boolean {
  return (
    error instanceof S3Failure &&
    error.status === 404 &&
    error.code !== "NoSuchBucket" &&
    !UNKNOWN_KEYS.has(error.code)
  );
}

/** The server does not know a header or a verb. */
export function isNotImplemented(error: unknown): boolean {
  return error instanceof S3Failure && (error.status === 501 || error.code === "NotImplemented");
}

/** What a final answer means, where the user can mend it. @param verb as in `the right to ... it`. */
export function explainS3(failure: RequestFailure, bucket: string, uri: string): SluiceError | undefined {
  if (!(failure instanceof S3Failure)) return undefined;
  const { code, status } = failure;
  const details = { found: failure.message, cause: failure };
  if (code === "NoSuchBucket" || code === "InvalidBucketName")
    return new SluiceError("config", `there is no bucket s3://${bucket}`, {
      ...details,
      fix: "Make it first, or mend the name; for a store that is not Amazon's set AWS_ENDPOINT_URL.",
    });
  if (UNKNOWN_KEYS.has(code))
    return new SluiceError("config", `S3 does not accept the credentials for s3://${bucket}`, {
      ...details,
      fix: "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or the profile, AWS_REGION, and AWS_ENDPOINT_URL.",
    });
  if (EXPIRED.has(code))
    return new SluiceError("config", `the credentials for s3://${bucket} have expired`, {
      ...details,
      fix: "Get new ones (aws sso login), or run with a role that renews them, then start the command again.",
    });
  if (status === 401 || status === 403)
    return new SluiceError("config", `no permission for ${uri}`, {
      ...details,
      // S3 answers HEAD without a reason, also where it does not know the key or its secret is wrong.
      fix: `Grant s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on what is below the prefix${failure.code === "Unknown" ? "; or mend the credentials: sluice doctor --output says which it is" : ""}.`,
    });
  if (isNotImplemented(failure))
    return new SluiceError("config", `the store at ${uri} lacks what Sluice needs of S3`, {
      ...details,
      expected: "If-None-Match on PutObject and CompleteMultipartUpload",
      fix: "Use a store that has it: docs/stores.md lists some.",
    });
  return undefined;
}
