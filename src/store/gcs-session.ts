// One object in a resumable session (https://cloud.google.com/storage/docs/performing-resumable-uploads). Precondition and
// checksum go with the session's opening. Then all bytes go in one long request, so that the line is never idle; where that
// breaks off, the service is asked how many bytes it has, and the rest is sent.

import { SluiceError } from "../base/errors.js";
import { failureOf, type GcsApi } from "./gcs-api.js";
import { isDamaged } from "./gcs-errors.js";
import { decodeObject, FIELDS, metadataOf, type ObjectResource, type Upload } from "./gcs-object.js";
import { type Attempt, RequestFailure } from "./retry.js";

/** How a request to a session ended: the object is there, or how many bytes the service has, or that there is no going on. */
type Outcome =
  | { readonly kind: "done"; readonly object: ObjectResource }
  | { readonly kind: "kept"; readonly bytes: number }
  /** The service knows the session no more. */
  | { readonly kind: "lost" }
  /** The bytes that arrived were not those that were sent: there is no object. */
  | { readonly kind: "damaged" }
  /** The precondition does not hold any more: somebody was first. */
  | { readonly kind: "taken" };

/** Ends of a session. */
export type SessionEnd = Exclude<Outcome, { kind: "kept" }>;

/** A session that was opened. */
export class GcsSession {
  readonly #api: GcsApi;
  readonly #uri: string;
  readonly #upload: Upload;
  /** What the service is known to have. */
  #kept = 0;

  private constructor(api: GcsApi, uri: string, upload: Upload) {
    this.#api = api;
    this.#uri = uri;
    this.#upload = upload;
  }

  /** Opens a session that creates the object only where there is none; 'exists' where there is one. */
  static async open(
    api: GcsApi,
    path: string,
    upload: Upload,
    attempt: Attempt,
  ): Promise<GcsSession | "exists"> {
    const metadata = metadataOf(upload);
    const reply = await api.call(
      {
        method: "POST",
        path,
        query: { uploadType: "resumable", ifGenerationMatch: "0", fields: FIELDS },
        headers: {
          "content-type": "application/json; charset=UTF-8",
          "x-upload-content-type": "application/octet-stream",
          "x-upload-content-length": String(upload.size),
        },
        body: { length: metadata.length, write: (send) => send(metadata) },
      },
      attempt,
      [412],
    );
    if (reply.status === 412) return "exists";
    const { location } = reply.headers;
    if (location === undefined) throw new RequestFailure("an upload session without a location");
    return new GcsSession(api, location, upload);
  }

  /** Sends what the service has not got yet. @throws RequestFailure where the request failed, and the next attempt may go on. */
  async send(attempt: Attempt): Promise<SessionEnd> {
    const { size } = this.#upload;
    // Asked only after a failure: some emulators take the question for the end of the upload.
    const known = attempt.number > 1 ? await this.#request(undefined, attempt) : undefined;
    if (known && known.kind !== "kept") return known;
    if (known) this.#advance(known.bytes, attempt);
    for (;;) {
      const start = this.#kept;
      const outcome = await this.#request(start, attempt);
      if (outcome.kind !== "kept") return outcome;
      if (outcome.bytes <= start)
        throw new RequestFailure(`the store has kept no more than ${outcome.bytes} of ${size} bytes`);
      this.#advance(outcome.bytes, attempt);
    }
  }

  #advance(bytes: number, attempt: Attempt): void {
    if (bytes > this.#kept) attempt.advance();
    this.#kept = bytes;
  }

  /** Sends the bytes from `start` on, or, without one, asks. */
  async #request(start: number | undefined, attempt: Attempt): Promise<Outcome> {
    const { size, object } = this.#upload;
    const isAsking = start === undefined || start >= size;
    const reply = await this.#api.callSession(
      this.#uri,
      isAsking
        ? { headers: { "content-range": `bytes */${size}` } }
        : {
            headers: { "content-range": `bytes ${start}-${size - 1}/${size}` },
            body: {
              length: size - start,
              write: (send) => this.#upload.write(send, start, attempt.signal),
            },
          },
      attempt,
      [308, 400, 404, 410, 412],
    );
    switch (reply.status) {
      case 308:
        break;
      case 400:
        if (isDamaged(reply)) return { kind: "damaged" };
        throw failureOf(reply);
      case 404:
      case 410:
        return { kind: "lost" };
      case 412:
        return { kind: "taken" };
      default:
        return { kind: "done", object: decodeObject(reply) };
    }
    // Without a Range header nothing has been kept yet.
    const last = /^bytes=0-(\d{1,15})$/.exec(reply.headers.range ?? "")?.[1];
    const bytes = last === undefined ? 0 : Number(last) + 1;
    if (bytes <= size) return { kind: "kept", bytes };
    throw new SluiceError("store", `the store claims more of ${object} than was sent`, {
      found: `${bytes} bytes`,
      expected: `at most ${size}`,
    });
  }
}
