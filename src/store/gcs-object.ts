// Objects as Google Cloud Storage's JSON API describes them, and what is sent to make one.

import { randomUUID } from "node:crypto";
import { crc32c } from "@node-rs/crc32";
import { z } from "zod";
import { formatCrc } from "../base/crc.js";
import { parseJson } from "./gcs-api.js";
import type { HttpReply, Send } from "./http.js";
import { readParts } from "./parts.js";
import { RequestFailure } from "./retry.js";
import type { Body } from "./store.js";

/** A spool file is read and sent in pieces of this size. */
const PIECE_BYTES = 4 << 20;
/** The key of the mark in an object's metadata. */
const MARK = "sluice-upload";

/** The fields of an object that are asked for. */
export const FIELDS = "name,size,generation,crc32c";
/** The same, and the mark. */
export const MARKED_FIELDS = `${FIELDS},metadata`;

const resourceSchema = z.object({
  name: z.string(),
  size: z
    .string()
    .regex(/^\d{1,15}$/)
    .transform(Number),
  generation: z.string(),
  /** Base64 of the four bytes, big-endian. */
  crc32c: z.string().optional(),
  metadata: z.record(z.string(), z.string()).optional(),
});
const pageSchema = z.object({
  items: z.array(resourceSchema).default([]),
  nextPageToken: z.string().optional(),
});

/** What the service says of an object. */
export type ObjectResource = z.infer<typeof resourceSchema>;

/** A page of a listing. */
export type Page = z.infer<typeof pageSchema>;

/** The object in a reply. @throws RequestFailure where there is none: something stands between us and the service. */
export function decodeObject(reply: HttpReply): ObjectResource {
  return decode(resourceSchema, reply);
}

/** The page of a listing in a reply. @throws as {@link decodeObject}. */
export function decodePage(reply: HttpReply): Page {
  return decode(pageSchema, reply);
}

/** An object that is to be made: its bytes can be sent again from any place on. */
export interface Upload {
  /** In the bucket. */
  readonly object: string;
  readonly size: number;
  readonly crc32c: string;
  /** Random: an object that carries it was made by this very upload. */
  readonly mark: string;
  /** Where it is in memory. */
  readonly bytes?: Uint8Array;
  write(send: Send, start: number, signal: AbortSignal): Promise<void>;
}

/** An upload of a body. */
export function uploadOf(object: string, body: Body): Upload {
  const mark = randomUUID();
  if (body instanceof Uint8Array)
    return {
      object,
      size: body.length,
      crc32c: formatCrc(crc32c(body)),
      mark,
      bytes: body,
      write: (send, start) => send(body.subarray(start)),
    };
  const { file, size } = body;
  return {
    object,
    size,
    crc32c: body.crc32c,
    mark,
    write: async (send, start, signal) => {
      for await (const part of readParts(file, { start, end: size, partBytes: PIECE_BYTES }, signal)) {
        let isSent = false;
        try {
          await send(part.bytes);
          isSent = true;
        } finally {
          part.release(isSent);
        }
      }
    },
  };
}

/** The object's metadata as they are sent before its bytes: the service compares the checksum before there is an object. */
export function metadataOf({ object, crc32c: sum, mark }: Upload): Buffer {
  return Buffer.from(
    JSON.stringify({
      name: object,
      contentType: "application/octet-stream",
      crc32c: encodeCrc(sum),
      metadata: { [MARK]: mark },
    }),
  );
}

/** Whether an object was made by this upload. */
export function isMadeBy(upload: Upload, found: ObjectResource | null): found is ObjectResource {
  return found?.metadata?.[MARK] === upload.mark;
}

/** Eight hexadecimal digits of the service's base64. */
export function decodeCrc(sum: string): string {
  return Buffer.from(sum, "base64").toString("hex");
}

function encodeCrc(sum: string): string {
  return Buffer.from(sum, "hex").toString("base64");
}

function decode<T>(schema: z.ZodType<T>, reply: HttpReply): T {
  const parsed = schema.safeParse(parseJson(reply.body));
  if (parsed.success) return parsed.data;
  throw new RequestFailure(`a reply that is none of Cloud Storage's: ${z.prettifyError(parsed.error)}`);
}
