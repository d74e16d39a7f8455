// Bugs that stores with commits have had, planted between a worker and its store: the checker must see each of them.

import type { Store, Stored } from "../../src/store/store.js";
import type { Bucket } from "./bucket.js";
import type { Checker } from "./checker.js";
import type { SeedOptions } from "./run-seed.js";

const COMMIT = /^(tpu_\d+\/)shard_\d+\.json$/;
const DATA = /^tpu_\d+\/(alt\/)?shard_\d+.*\.safetensors$/;

/** A bug, and what the checker says of it. */
export interface PlantedBug {
  readonly options: SeedOptions;
  readonly seen: RegExp;
}

/** By what they do. */
export const PLANTED_BUGS: Readonly<Record<string, PlantedBug>> = {
  "commits before the upload is done": {
    options: { wrap: commitEarly },
    seen: /names .*, which is not there/,
  },
  "a loser deletes what the winner adopted": {
    options: { wrap: deleteAfterLoss },
    seen: /was removed, which a commit names|names .*, which is not there/,
  },
  "the own hash is committed for somebody else's bytes": {
    options: { wrap: believeInOwnBytes },
    seen: /names .*, which holds other bytes/,
  },
  "gc removes what no commit names yet": {
    options: { meddle: collectEarly },
    seen: /names .*, which is not there/,
  },
  "absence is believed of a listing": {
    options: { wrap: believeListings },
    seen: /went missing|is missing|changed while this worker ran/,
  },
  "a silent worker is never taken for dead": {
    options: { wrap: hearEverybody },
    seen: /after the weather had turned fine|no end after/,
  },
};

/** The upload goes on while the commit is written. */
function commitEarly(store: Store): Store {
  return change(store, {
    create: async (name, body, options) => {
      if (!DATA.test(name) || body instanceof Uint8Array || (await store.head(name)))
        return store.create(name, body, options);
      store.create(name, body, options).catch(() => {});
      return { name, size: body.size, version: "?", crc32c: body.crc32c };
    },
  });
}

function deleteAfterLoss(store: Store): Store {
  const data = new Map<string, Stored>();
  return change(store, {
    create: async (name, body, options) => {
      const created = await store.create(name, body, options);
      if (DATA.test(name)) {
        const there = created === "exists" ? await store.head(name) : created;
        if (there) data.set(name.replace(/\.safetensors$/, ".json"), there);
      }
      const mine = data.get(name);
      if (COMMIT.test(name) && created === "exists" && mine) await store.remove(mine.name, mine.version);
      return created;
    },
  });
}

function believeInOwnBytes(store: Store): Store {
  return change(store, {
    create: async (name, body, options) => {
      const created = await store.create(name, body, options);
      if (created !== "exists" || !DATA.test(name) || body instanceof Uint8Array) return created;
      return { name, size: body.size, version: "?", crc32c: body.crc32c };
    },
  });
}

/** Neither waits for the run to be complete nor looks who is at work. */
function collectEarly(bucket: Bucket, checker: Checker): void {
  const named = new Set([...checker.commits.values()].map(({ stream, data }) => `tpu_${stream}/${data}`));
  for (const name of bucket.names())
    if (DATA.test(name) && !named.has(name)) bucket.remove(name, undefined, "gc");
}

function believeListings(store: Store): Store {
  return change(store, {
    head: async (name) => {
      for await (const stored of store.list(name)) if (stored.name === name) return stored;
      return null;
    },
  });
}

/** Every look finds every heartbeat changed. */
function hearEverybody(store: Store): Store {
  let looks = 0;
  return change(store, {
    list: async function* (prefix: string) {
      looks += 1;
      for await (const stored of store.list(prefix))
        yield prefix === "workers/" ? { ...stored, version: `${stored.version}/${looks}` } : stored;
    },
  });
}

function change(store: Store, methods: Partial<Store>): Store {
  return {
    uri: store.uri,
    create: (name, body, options) => store.create(name, body, options),
    replace: (name, body, options) => store.replace(name, body, options),
    head: (name) => store.head(name),
    read: (name, range) => store.read(name, range),
    list: (prefix) => store.list(prefix),
    remove: (name, version) => store.remove(name, version),
    ...methods,
  };
}
