// JSON that may come from a stranger. The parser itself takes any depth; what walks the value afterwards (schemas, canonical JSON,
// stringifying) would end in a stack overflow: so deep nesting is refused before.

/** Deepest nesting: no config, header, commit or record that means anything comes near. */
export const MAX_DEPTH = 200;

/** Parses JSON of a bounded depth. @throws SyntaxError where it is not JSON, or nested more than {@link MAX_DEPTH} deep. */
export function parseJson(text: string): unknown {
  if (isTooDeep(text)) throw new SyntaxError(`nested more than ${MAX_DEPTH} deep`);
  return JSON.parse(text);
}

/** {@link parseJson} of UTF-8. */
export function parseJsonBytes(bytes: Uint8Array): unknown {
  return parseJson(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8"));
}

function isTooDeep(text: string): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x22) {
      // To the quote that ends the text: one with an even number of backslashes before it.
      for (i = text.indexOf('"', i + 1); i >= 0 && isEscaped(text, i); ) i = text.indexOf('"', i + 1);
      if (i < 0) return false; // Not JSON: the parser says so.
    } else if (code === 0x5b || code === 0x7b) {
      if (++depth > MAX_DEPTH) return true;
    } else if (code === 0x5d || code === 0x7d) depth -= 1;
  }
  return false;
}

function isEscaped(text: string, quote: number): boolean {
  let backslashes = 0;
  while (text.charCodeAt(quote - 1 - backslashes) === 0x5c) backslashes += 1;
  return backslashes % 2 === 1;
}
