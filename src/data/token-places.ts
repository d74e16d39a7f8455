// Where each token of a text lies in it. The tokenizer's library gives no offsets, so the tokens are laid along the text's
// bytes again: each token's own bytes must be the text's, but for the space that some tokenizers put before it.

/** UTF-16 units [starts[i], ends[i]) of token i. */
export interface TokenPlaces {
  readonly starts: Int32Array;
  readonly ends: Int32Array;
}

/** A Unicode normalisation form. */
export type NormalForm = "NFC" | "NFD" | "NFKC" | "NFKD";

const SPACE = 0x20;

/**
 * Lays tokens along a text.
 * @param tokens each token's bytes. @param form the normalisation that the tokenizer applies first, if any.
 * @returns null where the tokens are not the text (its normalizer does more, or a token is unknown).
 */
export function placeTokens(
  text: string,
  tokens: readonly Uint8Array[],
  form: NormalForm | null,
): TokenPlaces | null {
  const normal = form === null ? text : text.normalize(form);
  const places = layAlong(normal, tokens);
  if (!places || form === null || normal === text) return places;
  const back = mapBack(text, form);
  const start = (unit: number) => back.starts[unit] ?? text.length;
  const end = (unit: number) => (unit === 0 ? 0 : (back.ends[unit - 1] ?? text.length));
  return { starts: places.starts.map(start), ends: places.ends.map(end) };
}

/** For each unit of the normal form, where what it was made of begins and ends. Nothing composes with an ASCII character after it. */
function mapBack(text: string, form: NormalForm): { readonly starts: number[]; readonly ends: number[] } {
  const starts: number[] = [];
  const ends: number[] = [];
  for (const { 0: piece, index } of text.matchAll(/[\0-\x7f]?[^\0-\x7f]*/gs)) {
    const normal = piece.normalize(form);
    const isSame = normal === piece;
    for (let i = 0; i < normal.length; i++) {
      starts.push(isSame ? index + i : index);
      ends.push(isSame ? index + i + 1 : index + piece.length);
    }
  }
  return { starts, ends };
}

function layAlong(text: string, tokens: readonly Uint8Array[]): TokenPlaces | null {
  const bytes = Buffer.from(text, "utf8");
  const unitAt = unitsOf(text, bytes.length);
  const starts = new Int32Array(tokens.length);
  const ends = new Int32Array(tokens.length);
  let at = 0;
  for (const [i, token] of tokens.entries()) {
    let own = token;
    // White space that a special token takes with it is in no token's bytes; a space that was put in is in no text.
    while (!matches(bytes, at, own)) {
      if (own[0] === SPACE && matches(bytes, at, own.subarray(1))) own = own.subarray(1);
      else if (isSpace(bytes[at])) at += 1;
      else return null;
    }
    starts[i] = unitAt[at] ?? 0;
    at += own.length;
    // A token that ends inside a character has part of it, so the character is its own too.
    ends[i] = unitAfter(unitAt, at);
  }
  while (isSpace(bytes[at])) at += 1;
  return at === bytes.length ? { starts, ends } : null;
}

function matches(bytes: Buffer, at: number, token: Uint8Array): boolean {
  if (at + token.length > bytes.length) return false;
  for (let i = 0; i < token.length; i++) if (bytes[at + i] !== token[i]) return false;
  return true;
}

function isSpace(byte: number | undefined): boolean {
  return byte === SPACE || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** For each byte of the text the UTF-16 unit of its character; one more entry for the end. */
function unitsOf(text: string, bytes: number): Int32Array {
  const units = new Int32Array(bytes + 1);
  let byte = 0;
  let unit = 0;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    const length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    units.fill(unit, byte, byte + length);
    byte += length;
    unit += character.length;
  }
  units[bytes] = unit;
  return units;
}

/** The first unit that begins at this byte or later. */
function unitAfter(units: Int32Array, byte: number): number {
  const own = units[byte] ?? 0;
  if (byte === 0 || byte >= units.length - 1 || units[byte - 1] !== own) return own;
  let next = byte;
  while (next < units.length - 1 && units[next] === own) next += 1;
  return units[next] ?? own;
}
