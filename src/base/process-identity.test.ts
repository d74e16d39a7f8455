// Who is alive on this machine: a file or a lease of somebody who is taken for dead is taken away.

import { expect, it, vi } from "vitest";
import { isAlive, ownProcess } from "./process-identity.js";

it("knows the living from the dead, and from whoever has their number now", () => {
  const me = ownProcess();
  if (!me) return;
  expect(isAlive(me)).toBe(true);
  expect(isAlive({ ...me, start: "1" })).toBe(false);
  expect(isAlive({ ...me, pid: 2 ** 22 + 1 })).toBe(false);
  expect(isAlive({ ...me, boot: "another" }), "another boot or machine").toBeUndefined();
});

it("says nothing of a process that /proc hides from this user", () => {
  const me = ownProcess();
  if (!me) return;
  const kill = vi.spyOn(process, "kill").mockImplementation(() => {
    throw Object.assign(new Error("not permitted"), { code: "EPERM" });
  });
  try {
    expect(isAlive({ ...me, pid: 2 ** 22 + 1 })).toBeUndefined();
  } finally {
    kill.mockRestore();
  }
});
