// Events whose callback is refused: nothing is left over, and nobody waits for them.

import { expect, it } from "vitest";
import type { PjrtApi } from "./call.js";
import { PjrtError } from "./error.js";
import { Events } from "./events.js";
import { liveObjects } from "./handle.js";

it("an event that takes no callback is destroyed, and nothing waits for it", async () => {
  const calls: string[] = [];
  const api = {
    call: (name: string) => {
      calls.push(name);
      if (name === "PJRT_Event_OnReady") throw new PjrtError(name, 12, "no callbacks here");
    },
  } as unknown as PjrtApi;
  const events = new Events(api);
  await expect(events.settle(64n, "PJRT_LoadedExecutable_Execute")).rejects.toThrow("no callbacks here");
  expect(calls).toEqual(["PJRT_Event_OnReady", "PJRT_Event_Destroy"]);
  expect(liveObjects().event).toBe(0);
  await events.drain();
});
