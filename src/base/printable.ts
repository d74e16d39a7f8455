// Text of strangers on a terminal: names, ids, reasons and tokens may hold control characters, with which a terminal can be told to
// hide lines, rename its window or worse; and marks that turn the direction of what is shown.

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const UNPRINTABLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2028\u2029\u2066-\u2069]/g;

/** The text with every control character but newline and tab spelt out, as `\u001b`. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
