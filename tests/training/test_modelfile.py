"""A Modelfile says in Go's language what the chat template says in Jinja's, or nothing."""

import re
from pathlib import Path
from typing import Any

import pytest
import trl
from jinja2 import Environment

from curation.chat import load_tokenizer
from training.demo_model import CHAT_TEMPLATE
from training.modelfile import find_chatml, write_modelfile

TRL = Path(trl.__file__).parent / "chat_templates"
TEMPLATES = {"demo": CHAT_TEMPLATE} | {p.stem: p.read_text() for p in TRL.glob("*.jinja")}
CHATML = ("demo", "qwen2_5", "qwen2_5_training", "qwen3", "qwen3_training", "qwen3_5_nothink")
GO = {
    "{{- range .Messages }}": "{% for m in messages %}",
    "{{ end }}<|im_start|>assistant": "{% endfor %}<|im_start|>assistant",
    '{{ if eq .Role "assistant" }}': "{% if m.role == 'assistant' %}",
    "{{ end }}": "{% endif %}",
    "{{ .Role }}": "{{ m.role }}",
    "{{ .Content }}": "{{ m.content }}",
}
"""Go's language, as far as it is used, in Jinja's: the part between them is the same text."""


@pytest.fixture
def tokenizer(tiny_base: Path) -> Any:
    return load_tokenizer(tiny_base)


def told(modelfile: str, word: str) -> str:
    """What a quoted instruction of a Modelfile says."""
    (said,) = re.findall(f'^{word} """(.*?)"""$', modelfile, re.MULTILINE | re.DOTALL)
    return said


def as_ollama(modelfile: str, messages: list[dict[str, str]]) -> str:
    """The prompt that a server of this Modelfile builds: SYSTEM goes first where none is sent."""
    template = told(modelfile, "TEMPLATE")
    for go, jinja in GO.items():
        template = template.replace(go, jinja)
    system = [{"role": "system", "content": told(modelfile, "SYSTEM")}]
    sent = messages if messages[0]["role"] == "system" else system + messages
    return Environment(keep_trailing_newline=True).from_string(template).render(messages=sent)


@pytest.mark.parametrize("name", CHATML)
def test_the_prompt_is_the_one_of_the_chat_template(name: str, tokenizer: Any):
    tokenizer.chat_template = TEMPLATES[name]
    text = write_modelfile(tokenizer, system="你是车载助手，\n把指令转成 JSON。")
    asked = [{"role": "user", "content": "打开 {{ 车窗 }}"}]
    answered = {"role": "assistant", "content": '{"do": "打开"}'}
    system = {"role": "system", "content": "你是车载助手，\n把指令转成 JSON。"}
    for sent in (asked, [system, *asked, answered, {"role": "user", "content": "louder"}]):
        full = sent if sent[0] is system else [system, *sent]
        wanted = tokenizer.apply_chat_template(full, tokenize=False, add_generation_prompt=True)
        assert as_ollama(text, sent) == wanted
    assert text.startswith("FROM .\n") and 'PARAMETER stop "<|im_end|>"' in text


def test_what_a_template_says_by_itself_becomes_the_system_message(tokenizer: Any):
    tokenizer.chat_template = TEMPLATES["qwen2_5"]
    text = write_modelfile(tokenizer, weights="./model-q8_0.gguf")
    asked = [{"role": "user", "content": "你好"}]
    wanted = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert "Alibaba Cloud" in wanted and as_ollama(text, asked) == wanted
    assert text.startswith("FROM ./model-q8_0.gguf\n")


@pytest.mark.parametrize("name", ["llama3", "gemma", "phi3", "smolvlm", "deepseekv3"])
def test_another_form_is_left_out_and_said(name: str, tokenizer: Any):
    tokenizer.chat_template = TEMPLATES[name]
    assert find_chatml(tokenizer) is None
    text = write_modelfile(tokenizer)
    assert "\nTEMPLATE" not in text and "# TEMPLATE is left out: the chat template" in text


def test_a_system_message_that_cannot_be_quoted_is_refused(tokenizer: Any):
    for system in ('说 """三""" 次', 'answer "yes"'):
        with pytest.raises(ValueError, match="cannot quote this system message"):
            write_modelfile(tokenizer, system=system)
