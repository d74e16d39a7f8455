// Names of objects. They come from our own code, but also from files that a stranger may have written (a commit names its
// data), so none may lead out of the store's root.

import { SluiceError } from "../base/errors.js";

/** The name, where it is relative, '/'-separated and free of tricks. @throws SluiceError `data` otherwise. */
export function checkName(name: string): string {
  const parts = name.split("/");
  const isBad = parts.some((part) => part === "" || part === "." || part === "..") || /[\\\0]/.test(name);
  if (!isBad && Buffer.byteLength(name) <= 1024) return name;
  throw new SluiceError("data", "an object has a name that no run gives", {
    found: JSON.stringify(name),
    expected: "a relative name without '.', '..', empty parts or backslashes, of at most 1,024 bytes",
  });
}
