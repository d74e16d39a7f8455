// Chat prompts against transformers' `apply_chat_template` (tools/make_chat_fixtures.py): text, token ids, whose words.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { USUAL_RULES } from "../../test/record-rules.js";
import { ChatTemplate, openChatTemplate } from "./chat-template.js";
import { RecordReader, type RecordRules } from "./records.js";
import { TOKEN_FLAGS } from "./samples.js";
import { openTokenizer, type Tokenizer } from "./tokenizer.js";

const FIXTURES = fileURLToPath(new URL("../../test/fixtures/chat/", import.meta.url));
const messagesSchema = z.array(z.object({ role: z.string(), content: z.string() }));
const goldenSchema = z.object({
  cases: z.array(
    z.union([
      z.object({
        messages: messagesSchema,
        text: z.string(),
        ids: z.array(z.number()),
        roles: z.array(z.number()),
      }),
      z.object({ messages: messagesSchema, error: z.string() }),
    ]),
  ),
});

const RULES: RecordRules = {
  ...USUAL_RULES,
  prompt: "chat",
  maxLength: 4096,
  stride: 4096,
  vocabulary: 100_000,
};

async function open(name: string): Promise<{ tokenizer: Tokenizer; template: ChatTemplate }> {
  const tokenizer = await openTokenizer(join(FIXTURES, name));
  if (!tokenizer) throw new Error(`no tokenizer in ${name}`);
  return { tokenizer, template: openChatTemplate(tokenizer) };
}

describe.each(readdirSync(FIXTURES))("%s", (name) => {
  const { cases } = goldenSchema.parse(
    JSON.parse(gunzipSync(readFileSync(join(FIXTURES, name, "golden.json.gz"))).toString()),
  );

  it("gives transformers' texts, token ids and roles", async () => {
    const { tokenizer, template } = await open(name);
    const reader = new RecordReader(RULES, tokenizer);
    expect(cases.length).toBeGreaterThanOrEqual(12);
    for (const golden of cases) {
      const { messages } = golden;
      const chat = template.render(messages);
      const { documents, unusable } = reader.read({ fields: { messages } }, 0);
      if ("error" in golden) {
        expect(chat).toEqual({ reason: expect.stringContaining(golden.error) });
        expect(unusable).toContain(golden.error);
        continue;
      }
      expect("text" in chat && chat.text).toBe(golden.text);
      const [document] = documents;
      expect(document?.ids, golden.text).toEqual(golden.ids);
      expect([...(document?.roles ?? [])], golden.text).toEqual(golden.roles);
    }
  });
});

it("flags the template's text and the assistant's words", async () => {
  const { tokenizer } = await open("qwen2.5");
  const messages = [
    { role: "user", content: "Hello" },
    { role: "assistant", content: "Good day to you" },
  ];
  const [document] = new RecordReader(RULES, tokenizer).read({ fields: { messages } }, 0).documents;
  const flagged = (flag: number) =>
    tokenizer.decode((document?.ids ?? []).filter((_, i) => (document?.flags[i] ?? 0) & flag));
  expect(flagged(TOKEN_FLAGS.assistant)).toBe("Good day to you");
  expect(flagged(TOKEN_FLAGS.template)).toMatch(
    /^<\|im_start\|>system\nYou are Qwen.*assistant\n<\|im_end\|>\n$/s,
  );
});

it("takes a plain text for one message of the user, and messages spelt as JSON", async () => {
  const { tokenizer } = await open("smollm2");
  const reader = new RecordReader(RULES, tokenizer);
  const messages = [{ role: "user", content: "Hello" }];
  const expected = reader.read({ fields: { messages } }, 0).documents[0]?.text;
  expect(expected).toMatch(/<\|im_start\|>user\nHello<\|im_end\|>\n<\|im_start\|>assistant\n$/);
  expect(reader.read({ fields: { text: "Hello" } }, 0).documents[0]?.text).toBe(expected);
  expect(reader.read({ fields: { messages: JSON.stringify(messages) } }, 0).documents[0]?.text).toBe(
    expected,
  );
  const named = new RecordReader({ ...RULES, column: "talk.turns" }, tokenizer);
  expect(named.read({ fields: { talk: { turns: messages } } }, 0).documents[0]?.text).toBe(expected);
});

it.each([
  [{}, "no messages or text"],
  [{ messages: "Hello" }, "messages are no list"],
  [{ messages: [] }, "there are no messages"],
  [{ messages: ["a"] }, "message 1 is not an object"],
  [{ messages: [{ content: "a" }] }, "message 1 has no role"],
  [{ text: 5 }, "text is neither messages nor text"],
])("says of %j that there is %s", async (fields, reason) => {
  const { tokenizer } = await open("smollm2");
  expect(new RecordReader(RULES, tokenizer).read({ fields }, 0).unusable).toBe(reason);
});

it("gives the template the record's tools, and marks texts in parts of a content", () => {
  const source =
    "{% for t in tools or [] %}[{{ t.name }}]{% endfor %}{% for m in messages %}{% for p in m.content %}{{ p.text }};{% endfor %}{% endfor %}";
  const template = new ChatTemplate(source, {});
  const content = ["one", "two"].map((text) => ({ type: "text", text }));
  expect(template.render([{ role: "user", content }], [{ name: "search" }])).toEqual({
    text: "[search]one;two;",
    spans: [
      { start: 8, end: 11, role: 2 },
      { start: 12, end: 15, role: 2 },
    ],
  });
});

it("knows no date, so that a sample is the same on every day", () => {
  const template = new ChatTemplate(
    "{{ strftime_now('%Y') if strftime_now is defined else 'no clock' }}",
    {},
  );
  const chat = template.render([{ role: "user", content: "a" }]);
  expect("text" in chat && chat.text).toBe("no clock");
});

it("refuses a model without a template, and one whose template is none", async () => {
  const fixture = fileURLToPath(new URL("../../test/fixtures/tokenizers/gpt2", import.meta.url));
  const tokenizer = await openTokenizer(fixture);
  expect(() => new RecordReader(RULES, tokenizer)).toThrow(/needs the model's chat template/);
  expect(() => openChatTemplate({ chatTemplate: "{% if %}", namedTokens: {} })).toThrow(/cannot be read/);
});
