// JSON that may come from a stranger. The parser itself takes any depth; what walks the value afterwards (schemas, canonical JSON,
// stringifying) would end in a stack overflow: so deep nesting is refused before.

/** Deepest nesting: no config, header, commit or record that means anything comes near. */
export const MAX_DEPTH = 200;

const COLON = /\s*:/y;

/** Parses JSON of a bounded depth. @throws SyntaxError where it is not JSON, or nested more than {@link MAX_DEPTH} deep. */
export function parseJson(text: string): unknown {
  if (isTooDeep(text)) throw new SyntaxError(`nested more than ${MAX_DEPTH} deep`);
  return JSON.parse(text);
}

/** {@link parseJson} of UTF-8. */
export function parseJsonBytes(bytes: Uint8Array): unknown {
  return parseJson(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8"));
}

/**
 * Whether an object in it has a key twice: the parser takes the last of them, others the first.
 * @param value what the text was parsed to.
 */
export function hasKeyTwice(text: string, value: unknown): boolean {
  let keys = 0;
  for (let start = text.indexOf('"'); start >= 0; start = text.indexOf('"', COLON.lastIndex)) {
    const after = endOfText(text, start) + 1;
    COLON.lastIndex = after;
    if (COLON.test(text)) keys += 1;
    else COLON.lastIndex = after;
  }
  return keys !== countKeys(value);
}

function countKeys(value: unknown): number {
  if (value === null || typeof value !== "object") return 0;
  const own = Array.isArray(value) ? 0 : Object.keys(value).length;
  return Object.values(value).reduce((sum: number, item) => sum + countKeys(item), own);
}

function isTooDeep(text: string): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x22) {
      i = endOfText(text, i);
      if (i < 0) return false; // Not JSON: the parser says so.
    } else if (code === 0x5b || code === 0x7b) {
      if (++depth > MAX_DEPTH) return true;
    } else if (code === 0x5d || code === 0x7d) depth -= 1;
  }
  return false;
}

/** The quote that ends the text which the one at `start` begins: the next with an even number of backslashes before it; -1 without one. */
function endOfText(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (end >= 0 && isEscaped(text, end)) end = text.indexOf('"', end + 1);
  return end;
}

function isEscaped(text: string, quote: number): boolean {
  let backslashes = 0;
  while (text.charCodeAt(quote - 1 - backslashes) === 0x5c) backslashes += 1;
  return backslashes % 2 === 1;
}
