// CSV and TSV files (RFC 4180, read as Python's `csv` reads them): a quote opens a quoted field only where a field begins,
// and a quoted field may hold delimiters and newlines. The first row names the columns; every value is a text.

import { SluiceError } from "../base/errors.js";
import { plural } from "../base/plural.js";
import type { RawRecord } from "./fields.js";
import { isBlank } from "./lines.js";
import type { RecordFinder, TextFormat } from "./text-format.js";

const QUOTE = 0x22;
const NEWLINE = 0x0a;
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Rows with fields between commas, or another delimiter of one byte. */
export function csvFormat(delimiter: "," | "\t"): TextFormat {
  // The same header for every record of a file: it is parsed once.
  let known: { readonly bytes: Buffer; readonly names: readonly string[] } | undefined;
  const columns = (header: Buffer | null): readonly string[] => {
    if (header === null) throw new SluiceError("bug", "a CSV file without a header");
    if (known?.bytes !== header) known = { bytes: header, names: parseHeader(header, delimiter) };
    return known.names;
  };
  return {
    hasHeader: true,
    finder: () => new CsvFinder(delimiter.charCodeAt(0)),
    parse: (bytes, header) => parseRow(bytes, columns(header), delimiter),
    // Quotes where RFC 4180 has them, and the header's width.
    isSound: (bytes, header) => {
      const { fields, isStrict } = splitRow(withoutBlankLines(bytes.toString("utf8")), delimiter);
      return isStrict && fields.length === columns(header).length;
    },
    columns,
  };
}

/** The fields of one row, which may end in a newline; and whether quotes are only where RFC 4180 has them. */
export function splitRow(
  row: string,
  delimiter: string,
): { readonly fields: readonly string[]; readonly isStrict: boolean } {
  const fields: string[] = [];
  let isStrict = true;
  const end = row.endsWith("\r\n") ? row.length - 2 : row.endsWith("\n") ? row.length - 1 : row.length;
  for (let at = 0; ; ) {
    let quoted = "";
    const isQuoted = row[at] === '"' && at < end;
    if (isQuoted) {
      at += 1;
      for (;;) {
        const quote = row.indexOf('"', at);
        const isOpen = quote < 0 || quote >= end;
        quoted += row.slice(at, isOpen ? end : quote);
        at = isOpen ? end : quote + 1;
        isStrict &&= !isOpen;
        if (isOpen || row[at] !== '"' || at >= end) break;
        quoted += '"';
        at += 1;
      }
    }
    const next = row.indexOf(delimiter, at);
    const isLast = next < 0 || next >= end;
    const rest = row.slice(at, isLast ? end : next);
    isStrict &&= isQuoted ? rest === "" : !rest.includes('"');
    fields.push(quoted + rest);
    if (isLast) return { fields, isStrict };
    at = next + 1;
  }
}

/** Blank lines before a row belong to it. */
function withoutBlankLines(row: string): string {
  return row.replace(/^(?:[ \t]*\r?\n)+/, "");
}

function parseHeader(header: Buffer, delimiter: string): readonly string[] {
  let names: readonly string[];
  try {
    names = splitRow(withoutBlankLines(utf8.decode(header)), delimiter).fields;
  } catch (cause) {
    throw new SluiceError("config", "the header of a CSV file is not valid UTF-8", {
      fix: "Convert the file: iconv -t UTF-8.",
      cause,
    });
  }
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice === undefined) return names;
  throw new SluiceError("config", "the header of a CSV file names a column twice", {
    found: twice,
    expected: "a first row with the columns' names",
  });
}

function parseRow(bytes: Buffer, names: readonly string[], delimiter: string): RawRecord {
  let row: string;
  try {
    row = utf8.decode(bytes);
  } catch {
    return { unusable: "not valid UTF-8" };
  }
  const { fields: values } = splitRow(withoutBlankLines(row), delimiter);
  if (values.length > names.length)
    return { unusable: `${plural(values.length, "field")} where the header has ${names.length}` };
  return { fields: Object.fromEntries(values.map((value, i) => [names[i] ?? "", value])) };
}

class CsvFinder implements RecordFinder {
  readonly #delimiter: number;
  #inQuotes = false;
  /** The last byte was a quote that may have closed a field. */
  #afterQuote = false;
  #hasRecord = false;
  /** The byte before the piece. */
  #previous = NEWLINE;
  #piece: Buffer | undefined;
  #newline = -1;
  #quote = -1;

  constructor(delimiter: number) {
    this.#delimiter = delimiter;
  }

  next(piece: Buffer, from: number): number {
    if (this.#piece !== piece) {
      this.#piece = piece;
      this.#newline = this.#quote = -1;
    }
    let at = from;
    let start = from;
    for (;;) {
      if (this.#afterQuote) {
        if (at >= piece.length) break;
        this.#afterQuote = false;
        this.#inQuotes = piece[at] === QUOTE;
        if (this.#inQuotes) at += 1;
      }
      const quote = this.#quoteFrom(piece, at);
      if (this.#inQuotes) {
        if (quote === piece.length) break;
        this.#inQuotes = false;
        this.#afterQuote = true;
        at = quote + 1;
        continue;
      }
      const newline = this.#newlineFrom(piece, at);
      if (quote < newline) {
        const before = quote === 0 ? this.#previous : piece[quote - 1];
        this.#inQuotes = before === this.#delimiter || before === NEWLINE;
        at = quote + 1;
        continue;
      }
      if (newline === piece.length) break;
      at = newline + 1;
      const isBlankLine = !this.#hasRecord && isBlank(piece, start, at);
      this.#hasRecord = false;
      if (!isBlankLine) return at;
      start = at;
    }
    this.#hasRecord ||= !isBlank(piece, start, piece.length);
    this.#previous = piece[piece.length - 1] ?? this.#previous;
    return -1;
  }

  hasOpenRecord(): boolean {
    return this.#hasRecord;
  }

  #quoteFrom(piece: Buffer, at: number): number {
    if (this.#quote < at) {
      const found = piece.indexOf(QUOTE, at);
      this.#quote = found < 0 ? piece.length : found;
    }
    return this.#quote;
  }

  #newlineFrom(piece: Buffer, at: number): number {
    if (this.#newline < at) {
      const found = piece.indexOf(NEWLINE, at);
      this.#newline = found < 0 ? piece.length : found;
    }
    return this.#newline;
  }
}
