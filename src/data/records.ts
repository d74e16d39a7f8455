// From one record to its documents, or to the reason why it has none: the text or token ids that the model reads, before
// anything is cut or packed. A function of the record and the run's identity alone, so that every machine says the same.

import { z } from "zod";
import { SluiceError } from "../base/errors.js";
import type { Positions } from "../plan/positions.js";
import { parseArcTask, renderArcPrompt } from "./arc.js";
import { arcTransform, transformTask } from "./augment.js";
import {
  type ChatTemplate,
  openChatTemplate,
  type RenderedChat,
  roleCode,
  TEMPLATE_TEXT,
} from "./chat-template.js";
import { asJson, type Fields, fieldAt, isFields, listFrom, type RawRecord } from "./fields.js";
import { TOKEN_FLAGS } from "./samples.js";
import type { TokenPlaces } from "./token-places.js";
import type { BosRule, Tokenizer } from "./tokenizer.js";

const idsSchema = z.array(z.number().int());
/** The columns that are looked at without being named. */
const ID_COLUMNS = ["id", "task_id"] as const;

/** How records become samples; part of the run's identity. */
export interface RecordRules {
  readonly prompt: "text" | "chat" | "arc";
  readonly column: string;
  /** Columns that are carried along into `sample_info`. */
  readonly keepColumns: readonly string[];
  /** Variants of each ARC task, the task itself included. */
  readonly augment: number;
  readonly bos: BosRule;
  readonly maxLength: number;
  readonly tooLong: "cut" | "cut-left" | "window" | "skip";
  /** Tokens from one window to the next, and windows of a document at most. */
  readonly stride: number;
  readonly maxParts: number;
  /** Tokens of a context that documents are packed into; null where each document is a sample. */
  readonly contextSize: number | null;
  /** Whether attention and positions run on from one document of a context to the next. */
  readonly attendAcross: boolean;
  /** Whether a unit's last context is left out where it is shorter. */
  readonly dropShort: boolean;
  readonly positions: Positions;
  readonly skipSpecial: boolean;
  readonly seed: number;
  /** Token ids lie below it. */
  readonly vocabulary: number;
  readonly specialIds: readonly number[];
  readonly bosId: number | null;
  readonly eosIds: readonly number[];
}

/** What one record, or one variant of it, gives the model to read. */
export interface Document {
  /** The variant; 0 where there is one. */
  readonly variant: number;
  readonly ids: readonly number[];
  /** {@link TOKEN_FLAGS} of each token, but for those that depend on where the document is cut. */
  readonly flags: Uint8Array;
  /** Whose words each token is (chat-template.ts); null where there are no messages. */
  readonly roles: Uint8Array | null;
  /** The text, or null where the record brought token ids. */
  readonly text: string | null;
  /** What `sample_info` says of it. */
  readonly info: Fields;
}

/** What a record gives. `id` is its own, or its index. */
export interface RecordResult {
  readonly id: string;
  readonly documents: readonly Document[];
  /** Why the record cannot be used. */
  readonly unusable?: string;
}

/** The columns, by their first names, that a record is read by: all that a columnar file needs to give. */
export function usedColumns(rules: {
  readonly prompt: string;
  readonly column: string;
  readonly keepColumns: readonly string[];
}): string[] {
  const { prompt, column, keepColumns } = rules;
  const own =
    prompt === "arc"
      ? ["train", "test", "examples"]
      : prompt === "chat"
        ? [column, "messages", "tools"]
        : column === "text"
          ? [column, "token_ids"]
          : [column];
  const named = [...own, ...keepColumns].flatMap((name) => [name, name.split(".")[0] ?? name]);
  return [...new Set([...ID_COLUMNS, ...named])];
}

/** Reads records by one set of rules. */
export class RecordReader {
  readonly rules: RecordRules;
  readonly #tokenizer: Tokenizer | null;
  readonly #template: ChatTemplate | null;
  readonly #special: ReadonlySet<number>;
  readonly #eos: ReadonlySet<number>;

  /** @throws SluiceError `config` for `--prompt chat` where the model has no chat template. */
  constructor(rules: RecordRules, tokenizer: Tokenizer | null) {
    this.rules = rules;
    this.#tokenizer = tokenizer;
    this.#template = rules.prompt === "chat" ? openChatTemplate(tokenizer) : null;
    this.#special = new Set(rules.specialIds);
    this.#eos = new Set(rules.eosIds);
  }

  /**
   * @param record its index in the dataset.
   * @throws SluiceError `config` where there is text and no tokenizer: no record's fault.
   */
  read(raw: RawRecord, record: number): RecordResult {
    if ("unusable" in raw) return { id: String(record), documents: [], unusable: raw.unusable };
    const { fields } = raw;
    const own = ID_COLUMNS.map((name) => fields[name]).find((value) => value !== undefined && value !== null);
    const id = ["string", "number", "bigint"].includes(typeof own) ? String(own) : String(record);
    const parts = this.#parts(fields, record);
    if (typeof parts === "string") return { id, documents: [], unusable: parts };
    if (parts.some((part) => part.ids.length === 0)) return { id, documents: [], unusable: "no tokens" };
    const kept = this.#keptColumns(fields);
    const documents = parts.map(({ ids, text, roles, info }, variant) => ({
      variant,
      ids,
      flags: this.#flag(ids, roles),
      roles: roles ?? null,
      text,
      info: { id, ...info, ...kept },
    }));
    return { id, documents };
  }

  /** The text of token ids; empty where there is no tokenizer. */
  decode(ids: readonly number[]): string {
    return this.#tokenizer?.decode(ids) ?? "";
  }

  #parts(fields: Fields, record: number): readonly Part[] | string {
    switch (this.rules.prompt) {
      case "text":
        return this.#textPart(fields);
      case "chat":
        return this.#chatPart(fields);
      case "arc":
        return this.#arcParts(fields, record);
    }
  }

  #textPart(fields: Fields): readonly Part[] | string {
    const { column } = this.rules;
    const value = fieldAt(fields, column) ?? (column === "text" ? listFrom(fields.token_ids) : undefined);
    const list = Array.isArray(value) || column === "token_ids" ? listFrom(value) : undefined;
    if (list) return this.#idsPart(list);
    if (typeof value === "string") return [{ ids: this.#encode(value), text: value }];
    if (value !== undefined && value !== null) return `${column} is neither text nor a list of token ids`;
    if (column === "text" && isThere(fields.messages)) return "messages need --prompt chat";
    return `no ${column === "text" ? "text or token_ids" : `column ${column}`}`;
  }

  #idsPart(list: readonly unknown[]): readonly Part[] | string {
    const { vocabulary } = this.rules;
    const ids = idsSchema.safeParse(list.map((id) => (typeof id === "bigint" ? Number(id) : id)));
    if (!ids.success) return "token_ids are not whole numbers";
    const outside = ids.data.find((id) => id < 0 || id >= vocabulary);
    if (outside !== undefined)
      return `token id ${outside} is outside the vocabulary (0 to ${vocabulary - 1})`;
    return [{ ids: ids.data, text: null }];
  }

  /** The messages of the column, or of `messages`; a plain text is one message of the user. */
  #chatPart(fields: Fields): readonly Part[] | string {
    const column = this.rules.column === "text" && isThere(fields.messages) ? "messages" : this.rules.column;
    const value = fieldAt(fields, column);
    if (!isThere(value)) return column === "text" ? "no messages or text" : `no column ${column}`;
    const list = listFrom(value);
    const isDialogue = Array.isArray(value) || list?.every(isFields) === true;
    if (!isDialogue && (typeof value !== "string" || column === "messages"))
      return `${column} ${column === "messages" ? "are no list" : "is neither messages nor text"}`;
    const messages = isDialogue ? list : [{ role: "user", content: value }];
    const chat = this.#template?.render(messages, listFrom(fields.tools));
    if (!chat) throw new SluiceError("bug", "no chat template");
    if ("reason" in chat) return chat.reason;
    // The template writes its own BOS: the tokenizer adds none.
    const ids = this.#encode(chat.text, "never");
    const places = this.#tokenizer?.place(chat.text, ids) ?? null;
    const roles = chat.spans && places ? rolesOf(chat.spans, places) : null;
    if (!roles && this.rules.positions.kind === "role")
      return "the messages' words cannot be found in the text that the chat template makes of them";
    return [{ ids, text: chat.text, ...(roles ? { roles } : {}) }];
  }

  #arcParts(fields: Fields, record: number): readonly Part[] | string {
    const lists = ["train", "test", "examples"].map((name) => [name, listFrom(fields[name])]);
    const task = parseArcTask(Object.fromEntries(lists.filter(([, list]) => list !== undefined)));
    if ("reason" in task) return task.reason;
    return Array.from({ length: this.rules.augment }, (_, variant) => {
      const transform = arcTransform(this.rules.seed, record, variant);
      const text = renderArcPrompt(transformTask(task, transform));
      const info = variant === 0 ? {} : { variant, symmetry: transform.symmetry, colours: transform.colours };
      return { ids: this.#encode(text), text, info };
    });
  }

  #keptColumns(fields: Fields): Fields {
    const { keepColumns } = this.rules;
    if (keepColumns.length === 0) return {};
    const kept = keepColumns.map((name) => [name, asJson(fieldAt(fields, name))]);
    return { columns: Object.fromEntries(kept) };
  }

  #flag(ids: readonly number[], roles: Uint8Array | undefined): Uint8Array {
    const { bosId } = this.rules;
    const assistant = roleCode("assistant");
    const flags = new Uint8Array(ids.length);
    for (const [i, id] of ids.entries()) {
      let flag = 0;
      if (this.#special.has(id)) flag |= TOKEN_FLAGS.special;
      if (id === bosId) flag |= TOKEN_FLAGS.bos;
      if (this.#eos.has(id)) flag |= TOKEN_FLAGS.eos;
      if (roles?.[i] === TEMPLATE_TEXT) flag |= TOKEN_FLAGS.template;
      if (roles?.[i] === assistant) flag |= TOKEN_FLAGS.assistant;
      flags[i] = flag;
    }
    return flags;
  }

  #encode(text: string, bos = this.rules.bos): readonly number[] {
    if (this.#tokenizer) return this.#tokenizer.encode(text, bos);
    throw new SluiceError("config", "the dataset holds text, and the model's folder has no tokenizer", {
      expected: "tokenizer.json beside config.json",
      fix: "Download it, or give token_ids in the dataset.",
    });
  }
}

interface Part {
  readonly ids: readonly number[];
  readonly text: string | null;
  readonly roles?: Uint8Array;
  readonly info?: Fields;
}

function isThere(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** Whose words each token is: those of the span that it has a character of, however little. */
function rolesOf(spans: NonNullable<RenderedChat["spans"]>, { starts, ends }: TokenPlaces): Uint8Array {
  const roles = new Uint8Array(starts.length);
  let next = 0;
  for (let i = 0; i < roles.length; i++) {
    const start = starts[i] ?? 0;
    while ((spans[next]?.end ?? Number.POSITIVE_INFINITY) <= start) next += 1;
    const span = spans[next];
    roles[i] = span && (ends[i] ?? 0) > span.start ? span.role : TEMPLATE_TEXT;
  }
  return roles;
}
