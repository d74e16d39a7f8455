// A model's own chat template: messages to the text that the model was trained on, and which part of that text is whose.
// The text is that of Hugging Face's `apply_chat_template`; golden tests hold it to that.

import { createHash } from "node:crypto";
import { Template } from "@huggingface/jinja";
import { messageOf, SluiceError } from "../base/errors.js";
import { type Fields, isFields } from "./fields.js";

/** Whose words a token belongs to, as `--positions role:` names them; the code of each is its place here plus one. */
export const ROLES = ["system", "user", "assistant", "tool"] as const;
export type Role = (typeof ROLES)[number];
/** The code of text that the template added, and of words of a role by another name. */
export const TEMPLATE_TEXT = 0;
const OTHER_ROLE = 255;

/** The code of a role's words. */
export function roleCode(role: string): number {
  const place = ROLES.findIndex((known) => known === (role === "developer" ? "system" : role));
  return place < 0 ? OTHER_ROLE : place + 1;
}

/** One role's words in a text: UTF-16 units [start, end). */
export interface Span {
  readonly start: number;
  readonly end: number;
  readonly role: number;
}

/** A dialogue as the model reads it. */
export interface RenderedChat {
  readonly text: string;
  /** Ascending, apart from each other; what lies between them is the template's. Null where the words cannot be found in the text. */
  readonly spans: readonly Span[] | null;
}

/** Dates would make a sample depend on the day it is read: templates find no clock, and take the date they have for that. */
const NO_CLOCK = "{% set strftime_now = sluice_has_no_clock %}{{ '' }}";
/** Marks are noncharacters (Unicode 23.7), which no text should hold: a content's number between two, or one at each end of a generation block. */
const MARKS = /[\ufdd0-\ufdd3]/;
const MARK = /\ufdd0(\d+)\ufdd1/;
const GENERATION = "\ufdd2";
const END_GENERATION = "\ufdd3";

/**
 * The chat template of a model's tokenizer.
 * @throws SluiceError `config` where the model has none, or one that cannot be read.
 */
export function openChatTemplate(tokenizer: TemplateSource | null): ChatTemplate {
  if (!tokenizer?.chatTemplate) {
    throw new SluiceError("config", "--prompt chat needs the model's chat template, and the model has none", {
      expected: "chat_template.jinja, or chat_template in tokenizer_config.json",
      fix: "Take the instruct model's folder, or render the dialogues yourself and use --prompt text.",
    });
  }
  try {
    return new ChatTemplate(tokenizer.chatTemplate, tokenizer.namedTokens);
  } catch (cause) {
    throw new SluiceError("config", "the model's chat template cannot be read", {
      found: messageOf(cause),
      fix: "Check chat_template.jinja, or chat_template in tokenizer_config.json.",
      cause,
    });
  }
}

/** What a tokenizer knows of its model's chat template. */
export interface TemplateSource {
  readonly chatTemplate: string | null;
  readonly namedTokens: Readonly<Record<string, string>>;
}

/** A chat template, compiled. */
export class ChatTemplate {
  /** Of the template's text. */
  readonly sha256: string;
  readonly #plain: Template;
  /** The same with `{% generation %}` blocks marked; null where it has none. */
  readonly #marked: Template | null;
  readonly #tokens: Readonly<Record<string, string>>;

  /**
   * @param source the template's text. @param tokens its variables: `bos_token`, `eos_token` and so on.
   * @throws SyntaxError where it is no template.
   */
  constructor(source: string, tokens: Readonly<Record<string, string>>) {
    this.sha256 = createHash("sha256").update(source).digest("hex");
    this.#tokens = tokens;
    this.#plain = new Template(NO_CLOCK + source);
    const marked = markGenerations(source);
    this.#marked = marked === source ? null : new Template(NO_CLOCK + marked);
  }

  /**
   * Renders a dialogue. Where the last message is not the assistant's, the template's generation prompt follows: the text ends where
   * the model would begin to answer.
   * @param tools what the record offers the assistant as tools, if anything.
   * @returns the text, or in words why the template refuses the messages.
   */
  render(messages: unknown, tools?: readonly unknown[]): RenderedChat | { readonly reason: string } {
    const checked = checkMessages(messages);
    if (typeof checked === "string") return { reason: checked };
    let text: string;
    try {
      text = this.#run(this.#plain, checked, tools);
    } catch (error) {
      return { reason: `the chat template refuses the messages: ${messageOf(error)}` };
    }
    return { text, spans: this.#findSpans(text, checked, tools) };
  }

  #run(template: Template, messages: readonly Fields[], tools?: readonly unknown[]): string {
    return template.render({
      ...this.#tokens,
      messages,
      tools: tools ?? null,
      documents: null,
      add_generation_prompt: messages.at(-1)?.role !== "assistant",
    });
  }

  #findSpans(text: string, messages: readonly Fields[], tools?: readonly unknown[]): Span[] | null {
    const contents = this.#spansOfContents(text, messages, tools);
    if (contents === null || !this.#marked) return contents;
    try {
      const generations = parseGenerations(this.#run(this.#marked, messages, tools));
      if (generations.text !== text) return contents;
      // What the template itself says of the assistant's words is what Hugging Face's assistant mask says.
      const others = contents.filter((span) => span.role !== roleCode("assistant"));
      return [...others, ...generations.spans].sort((a, b) => a.start - b.start);
    } catch {
      return contents;
    }
  }

  /**
   * Where the contents are in the text. Rendered with a mark in place of each content, what the template does to the marks, it did to the
   * contents. A template that looks into the contents shows in that: then each content's place is what changes when it alone is marked.
   */
  #spansOfContents(text: string, messages: readonly Fields[], tools?: readonly unknown[]): Span[] | null {
    const contents = contentsOf(messages);
    if (MARKS.test(text)) return null;
    const renderMarked = (isMarked: (content: number) => boolean): string | null => {
      try {
        return this.#run(this.#plain, markContents(messages, isMarked), tools);
      } catch {
        return null;
      }
    };
    const all = renderMarked(() => true);
    const placed = all === null ? null : placeContents(text, all, contents);
    if (placed) return placed;
    const spans: Span[] = [];
    for (const [i, { role }] of contents.entries()) {
      const [head, , tail, ...more] = renderMarked((content) => content === i)?.split(MARK) ?? [];
      if (head === undefined || more.length > 0) return null;
      if (tail === undefined) continue; // The template leaves it out.
      const end = text.length - tail.length;
      if (!text.startsWith(head) || !text.endsWith(tail) || end < head.length) return null;
      if (end > head.length) spans.push({ start: head.length, end, role });
    }
    return spans.sort((a, b) => a.start - b.start);
  }
}

interface Content {
  readonly text: string;
  readonly role: number;
}

/** The messages, or in words what is wrong with them. */
function checkMessages(messages: unknown): readonly Fields[] | string {
  if (!Array.isArray(messages)) return "messages are no list";
  if (messages.length === 0) return "there are no messages";
  for (const [i, message] of messages.entries()) {
    if (!isFields(message)) return `message ${i + 1} is not an object`;
    if (typeof message.role !== "string") return `message ${i + 1} has no role`;
  }
  return messages as readonly Fields[];
}

/** The texts of the messages, in order. */
function contentsOf(messages: readonly Fields[]): Content[] {
  return messages.flatMap(({ content, role }) => {
    const texts = Array.isArray(content) ? content.map((part: unknown) => textOf(part)) : [content];
    return texts.flatMap((text) =>
      typeof text === "string" ? [{ text, role: roleCode(String(role)) }] : [],
    );
  });
}

/** The messages with marks for texts, numbered as {@link contentsOf} has them. */
function markContents(messages: readonly Fields[], isMarked: (content: number) => boolean): Fields[] {
  let next = 0;
  const mark = (text: string) => {
    const number = next++;
    return isMarked(number) ? `\ufdd0${number}\ufdd1` : text;
  };
  return messages.map((message) => {
    const { content } = message;
    if (typeof content === "string") return { ...message, content: mark(content) };
    if (!Array.isArray(content)) return message;
    const parts = content.map((part: unknown) => {
      const text = textOf(part);
      return isFields(part) && text !== undefined ? { ...part, text: mark(text) } : part;
    });
    return { ...message, content: parts };
  });
}

function textOf(part: unknown): string | undefined {
  return isFields(part) && typeof part.text === "string" ? part.text : undefined;
}

/** Puts the contents where their marks stand, as they are or trimmed; null where that is not the text. */
function placeContents(text: string, marked: string, contents: readonly Content[]): Span[] | null {
  const spans: Span[] = [];
  let at = 0;
  const pieces = marked.split(MARK);
  for (const [i, piece] of pieces.entries()) {
    if (i % 2 === 0) {
      if (!text.startsWith(piece, at)) return null;
      at += piece.length;
      continue;
    }
    const content = contents[Number(piece)];
    if (!content) return null;
    const { text: own, role } = content;
    const next = pieces[i + 1] ?? "";
    const form = [own, own.trim(), own.trimStart(), own.trimEnd()].find(
      (form) => text.startsWith(form, at) && text.startsWith(next, at + form.length),
    );
    if (form === undefined) return null;
    if (form.length > 0) spans.push({ start: at, end: at + form.length, role });
    at += form.length;
  }
  return at === text.length ? spans : null;
}

/** The template with a mark after each `{% generation %}` and `{% endgeneration %}`. The white space that the tag takes goes with it. */
function markGenerations(source: string): string {
  return source.replace(
    /(\{%-?\s*(end)?generation\s*(-?)%\})(\s*)/g,
    (_, tag: string, end: string | undefined, strip: string, space: string) =>
      `${tag}{{ '${end ? END_GENERATION : GENERATION}' }}${strip ? "" : space.replace(/^\n/, "")}`,
  );
}

function parseGenerations(marked: string): { readonly text: string; readonly spans: readonly Span[] } {
  const spans: Span[] = [];
  let text = "";
  let start = 0;
  for (const piece of marked.split(/([\ufdd2\ufdd3])/)) {
    if (piece === GENERATION) start = text.length;
    else if (piece !== END_GENERATION) text += piece;
    else if (text.length > start) spans.push({ start, end: text.length, role: roleCode("assistant") });
  }
  return { text, spans };
}
