// A file of a network mount that does not answer raises nothing and never ends: whoever waits for it is told so.

import type { Clock } from "./clock.js";

/** No disk, and no look at a dataset, is silent for so long. */
const SILENCE_MS = 30_000;

/** Listens to something that is waited for. */
export interface Silence {
  /** It has moved. */
  heard(): void;
  /** Nobody waits for it any more. */
  end(): void;
}

/** For people. @param seconds for which nothing was heard. */
export function describeSilence(dataset: string, seconds: number): string {
  return `reading the dataset ${dataset} has not moved for ${seconds} s: does the disk or network mount that it lies on answer?`;
}

/** Calls once, where nothing is heard for 30 s, or for up to 60 s after the last time. @param tell gets the seconds, at least. */
export function listenForSilence(clock: Clock, tell: (seconds: number) => void): Silence {
  let moved = false;
  const end = clock.every(SILENCE_MS, () => {
    if (!moved) {
      end();
      tell(SILENCE_MS / 1000);
    }
    moved = false;
  });
  return {
    heard: () => {
      moved = true;
    },
    end,
  };
}
