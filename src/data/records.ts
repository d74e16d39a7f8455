// From one record's bytes to its samples, or to the reason why it has none. A function of the bytes and the run's identity
// alone, so that every machine says the same of every record.

import { z } from "zod";
import { SluiceError } from "../base/errors.js";
import { type Positions, selectPositions } from "../plan/positions.js";
import { parseArcTask, renderArcPrompt } from "./arc.js";
import { arcTransform, transformTask } from "./augment.js";
import { TOKEN_FLAGS } from "./samples.js";
import type { BosRule, Tokenizer } from "./tokenizer.js";

const PREVIEW_CHARACTERS = 200;
const idsSchema = z.array(z.number().int());

/** How records become samples; part of the run's identity. */
export interface RecordRules {
  readonly lines: "json" | "text";
  readonly prompt: "text" | "arc";
  readonly column: string;
  /** Variants of each ARC task, the task itself included. */
  readonly augment: number;
  readonly bos: BosRule;
  readonly maxLength: number;
  readonly tooLong: "cut" | "cut-left" | "skip";
  readonly positions: Positions;
  readonly skipSpecial: boolean;
  readonly seed: number;
  /** Token ids lie below it. */
  readonly vocabulary: number;
  readonly specialIds: readonly number[];
  readonly bosId: number | null;
  readonly eosIds: readonly number[];
}

/** One sample of a record. */
export interface RecordSample {
  readonly part: number;
  readonly ids: readonly number[];
  readonly flags: Uint8Array;
  /** Selected places, ascending. */
  readonly positions: readonly number[];
  readonly info: string;
  readonly preview: string;
}

/** What a record gives. `id` is its own, or its index. */
export interface RecordResult {
  readonly id: string;
  readonly samples: readonly RecordSample[];
  /** Why the record cannot be used. */
  readonly unusable?: string;
  /** Why the user's rules leave out parts of it. */
  readonly leftOut: readonly string[];
}

/** Reads records by one set of rules. */
export class RecordReader {
  readonly #rules: RecordRules;
  readonly #tokenizer: Tokenizer | null;
  readonly #special: ReadonlySet<number>;
  readonly #utf8 = new TextDecoder("utf-8", { fatal: true });

  constructor(rules: RecordRules, tokenizer: Tokenizer | null) {
    this.#rules = rules;
    this.#tokenizer = tokenizer;
    this.#special = new Set(rules.specialIds);
  }

  /**
   * @param bytes the record's line. @param record its index in the dataset.
   * @throws SluiceError `config` where there is text and no tokenizer: no record's fault.
   */
  read(bytes: Uint8Array, record: number): RecordResult {
    let id = String(record);
    const unusable = (reason: string): RecordResult => ({ id, samples: [], unusable: reason, leftOut: [] });
    let text: string;
    try {
      text = this.#utf8.decode(bytes).replace(/\r?\n$/, "");
    } catch {
      return unusable("not valid UTF-8");
    }
    if (this.#rules.lines === "text")
      return this.#finish(id, record, [{ ids: this.#encode(text), preview: text, info: {} }]);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      return unusable("not valid JSON");
    }
    if (typeof value !== "object" || value === null || Array.isArray(value))
      return unusable("not a JSON object");
    const fields = value as Readonly<Record<string, unknown>>;
    const own = fields.id ?? fields.task_id;
    if (typeof own === "string" || typeof own === "number") id = String(own);
    const parts = this.#rules.prompt === "arc" ? this.#arcParts(fields, record) : this.#textPart(fields);
    return typeof parts === "string" ? unusable(parts) : this.#finish(id, record, parts);
  }

  #textPart(fields: Readonly<Record<string, unknown>>): readonly RawPart[] | string {
    const { column, vocabulary } = this.#rules;
    const value = fields[column] ?? (column === "text" ? fields.token_ids : undefined);
    if (typeof value === "string") return [{ ids: this.#encode(value), preview: value, info: {} }];
    if (Array.isArray(value)) {
      const ids = idsSchema.safeParse(value);
      if (!ids.success) return "token_ids are not whole numbers";
      const outside = ids.data.find((id) => id < 0 || id >= vocabulary);
      if (outside !== undefined)
        return `token id ${outside} is outside the vocabulary (0 to ${vocabulary - 1})`;
      return [{ ids: ids.data, preview: null, info: {} }];
    }
    if (value !== undefined) return `${column} is neither text nor a list of token ids`;
    if (fields.messages !== undefined) return "messages need --prompt chat, which is not in this version";
    return `no ${column === "text" ? "text or token_ids" : `column ${column}`}`;
  }

  #arcParts(fields: Readonly<Record<string, unknown>>, record: number): readonly RawPart[] | string {
    const task = parseArcTask(fields);
    if ("reason" in task) return task.reason;
    return Array.from({ length: this.#rules.augment }, (_, variant) => {
      const transform = arcTransform(this.#rules.seed, record, variant);
      const text = renderArcPrompt(transformTask(task, transform));
      const info = variant === 0 ? {} : { variant, symmetry: transform.symmetry, colours: transform.colours };
      return { ids: this.#encode(text), preview: text, info };
    });
  }

  #finish(id: string, record: number, parts: readonly RawPart[]): RecordResult {
    const { maxLength, tooLong, positions, skipSpecial, seed } = this.#rules;
    const samples: RecordSample[] = [];
    const leftOut: string[] = [];
    for (const [part, { ids, preview, info }] of parts.entries()) {
      if (ids.length === 0) return { id, samples: [], unusable: "no tokens", leftOut: [] };
      const isCut = ids.length > maxLength;
      if (isCut && tooLong === "skip") {
        leftOut.push(`part ${part}: ${ids.length} tokens, more than ${maxLength}`);
        continue;
      }
      const kept = !isCut ? ids : tooLong === "cut" ? ids.slice(0, maxLength) : ids.slice(-maxLength);
      const isDropped = (place: number) => skipSpecial && this.#special.has(kept[place] ?? -1);
      const selected = selectPositions(positions, kept.length, isDropped, { seed, record, part });
      if (selected === null) {
        leftOut.push(`part ${part}: no token is left to take`);
        continue;
      }
      const cut = isCut ? { cut: tooLong, tokens_before_cut: ids.length } : {};
      samples.push({
        part,
        ids: kept,
        flags: this.#flag(kept, isCut),
        positions: selected,
        info: JSON.stringify({ id, ...info, ...cut }),
        preview: (preview ?? this.#tokenizer?.decode(kept.slice(0, PREVIEW_CHARACTERS)) ?? "").slice(
          0,
          PREVIEW_CHARACTERS,
        ),
      });
    }
    return { id, samples, leftOut };
  }

  #flag(ids: readonly number[], isCut: boolean): Uint8Array {
    const { bosId, eosIds } = this.#rules;
    const flags = new Uint8Array(ids.length);
    for (const [i, id] of ids.entries()) {
      let flag = isCut ? TOKEN_FLAGS.cut : 0;
      if (this.#special.has(id)) flag |= TOKEN_FLAGS.special;
      if (id === bosId) flag |= TOKEN_FLAGS.bos;
      if (eosIds.includes(id)) flag |= TOKEN_FLAGS.eos;
      if (i === ids.length - 1) flag |= TOKEN_FLAGS.last;
      flags[i] = flag;
    }
    return flags;
  }

  #encode(text: string): readonly number[] {
    if (this.#tokenizer) return this.#tokenizer.encode(text, this.#rules.bos);
    throw new SluiceError("config", "the dataset holds text, and the model's folder has no tokenizer", {
      expected: "tokenizer.json beside config.json",
      fix: "Download it, or give token_ids in the dataset.",
    });
  }
}

interface RawPart {
  readonly ids: readonly number[];
  /** The text, or null where the record brought token ids. */
  readonly preview: string | null;
  readonly info: Readonly<Record<string, unknown>>;
}
