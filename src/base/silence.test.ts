// Who waits for what does not answer is told so once, and only then.

import { expect, it } from "vitest";
import type { Clock } from "./clock.js";
import { orAborted } from "./or-aborted.js";
import { listenForSilence } from "./silence.js";

/** A clock whose timers go when they are told to. */
function handClock(): { readonly clock: Clock; readonly turn: () => void } {
  const actions = new Set<() => void>();
  const every = (ms: number, action: () => void) => {
    expect(ms).toBe(30_000);
    actions.add(action);
    return () => actions.delete(action);
  };
  return {
    clock: { every } as unknown as Clock,
    turn: () => {
      for (const action of actions) action();
    },
  };
}

it("says it once, after 30 s without a word", () => {
  const { clock, turn } = handClock();
  const told: number[] = [];
  const silence = listenForSilence(clock, (seconds) => told.push(seconds));
  silence.heard();
  turn();
  expect(told).toEqual([]);
  turn();
  expect(told).toEqual([30]);
  turn();
  expect(told).toEqual([30]);
});

it("says nothing once nobody waits", () => {
  const { clock, turn } = handClock();
  const silence = listenForSilence(clock, () => expect.unreachable());
  silence.end();
  turn();
});

it("leaves what cannot be told to stop", async () => {
  const controller = new AbortController();
  expect(await orAborted(Promise.resolve(1), controller.signal)).toBe(1);
  await expect(orAborted(Promise.reject(new Error("no")), controller.signal)).rejects.toThrow("no");
  const never = orAborted(new Promise(() => {}), controller.signal);
  controller.abort("told");
  await expect(never).rejects.toBe("told");
  await expect(orAborted(new Promise(() => {}), controller.signal)).rejects.toBe("told");
});
