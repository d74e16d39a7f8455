// That the six verbs do what they say, and that this user may use them: each is tried on objects of the check's own.

import { crc32c } from "@node-rs/crc32";
import { formatCrc } from "../base/crc.js";
import type { Store, Stored } from "../store/store.js";
import { type Finding, findingsOf } from "./finding.js";

const { ok, failure, raised } = findingsOf("store");
const WRONG = "Tell whoever keeps the store: it does not do what its interface says.";

/** What this user must be allowed, by the store's own names. */
export function permissionsFor(uri: string): string {
  if (uri.startsWith("gs://"))
    return "Grant storage.objects.create, get, list and delete on the bucket (roles/storage.objectUser).";
  if (uri.startsWith("s3://"))
    return "Grant s3:PutObject, s3:GetObject, s3:DeleteObject and s3:AbortMultipartUpload on the prefix, s3:ListBucket and s3:ListBucketMultipartUploads on the bucket.";
  return "Make the folder writable.";
}

/** Tries every verb. Where nothing can be created, the rest is not tried. */
export async function* checkVerbs(store: Store): AsyncGenerator<Finding> {
  const permissions = permissionsFor(store.uri);
  const [first, second] = [
    Buffer.from("sluice doctor: first"),
    Buffer.from("sluice doctor: the second, longer"),
  ];
  let stored: Stored | "exists";
  try {
    stored = await store.create("verbs/a", first);
  } catch (error) {
    yield withPermissions(raised("creating an object", error), permissions);
    return;
  }
  yield stored !== "exists" && stored.size === first.length && isSum(stored, first)
    ? ok("objects can be created")
    : failure("what was created is not what the store says of it", WRONG);
  const tries: readonly [string, () => Promise<string | null>][] = [
    [
      "head",
      async () => {
        const found = await store.head("verbs/a");
        if (found?.size !== first.length || !isSum(found, first))
          return "head says other facts than those of the object";
        return (await store.head("verbs/none")) === null ? null : "head finds an object that is not there";
      },
    ],
    [
      "read",
      async () => {
        if (!first.equals(await store.read("verbs/a"))) return "other bytes are read than were written";
        const part = await store.read("verbs/a", { start: 7, end: 13 });
        return first.subarray(7, 13).equals(part) ? null : "a range is not the range that was asked for";
      },
    ],
    [
      "list",
      async () => {
        await store.create("verbs/b/c", second);
        const names: string[] = [];
        for await (const { name } of store.list("verbs/")) names.push(name);
        return names.join() === "verbs/a,verbs/b/c"
          ? null
          : "a listing right after a write lacks objects, or has more";
      },
    ],
    [
      "replace",
      async () => {
        await store.replace("verbs/a", second);
        return second.equals(await store.read("verbs/a"))
          ? null
          : "a replaced object still has its old bytes";
      },
    ],
    [
      "remove",
      async () => {
        const now = await store.head("verbs/a");
        await store.remove("verbs/a", now?.version ?? "");
        return (await store.head("verbs/a")) === null ? null : "an object that was removed is still there";
      },
    ],
  ];
  const works: string[] = [];
  for (const [verb, attempt] of tries) {
    try {
      const problem = await attempt();
      if (problem === null) works.push(verb);
      else yield failure(problem, WRONG);
    } catch (error) {
      yield withPermissions(raised(verb, error), permissions);
    }
  }
  if (works.length === tries.length)
    yield ok("head, read, ranges, list, replace and remove work, and are allowed");
}

function isSum({ crc32c: sum }: Stored, bytes: Uint8Array): boolean {
  return sum === undefined || sum === formatCrc(crc32c(bytes));
}

/** What to grant, where the error is about that; others say by themselves what to do. */
function withPermissions(finding: Finding, permissions: string): Finding {
  return /permission|forbidden|denied|not allowed|HTTP 403/i.test(finding.text)
    ? { ...finding, fix: permissions }
    : finding;
}
