// Names of objects. They come from our own code, but also from files that a stranger may have written (a commit names its
// data), so none may lead out of the store's root.

import { SluiceError } from "../base/errors.js";

/** No file system or no listing in XML can hold control characters and halves of surrogate pairs; a backslash separates folders on some systems. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const BAD_CHARACTERS = /[\\\u0000-\u001f\u007f\p{Surrogate}]/u;

/** Whether a name is relative, '/'-separated, free of tricks, and of at most 1,024 bytes. */
export function isName(name: string): boolean {
  const parts = name.split("/");
  const isBad =
    parts.some((part) => part === "" || part === "." || part === "..") || BAD_CHARACTERS.test(name);
  return !isBad && Buffer.byteLength(name) <= 1024;
}

/** The name, where it {@link isName}. @throws SluiceError `data` otherwise. */
export function checkName(name: string): string {
  if (isName(name)) return name;
  throw new SluiceError("data", "an object has a name that no run gives", {
    found: JSON.stringify(name),
    expected:
      "a relative name without '.', '..', empty parts, backslashes or control characters, of at most 1,024 bytes",
  });
}

/**
 * Compares names by Unicode code points, which is the order of their UTF-8 bytes and of every object store's listing.
 * (JavaScript's own order is by UTF-16 code units: there U+10000 and above come before U+E000.)
 */
export function compareNames(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** Surrogates, which spell code points above U+FFFF, come after everything else. */
function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
