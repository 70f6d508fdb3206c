"""An Ollama Modelfile for a merged model: its chat template in Ollama's own language.

Ollama writes templates in Go's language and does not read Jinja. What the model's template does is
found by rendering conversations through it, and only what gives the same text is written down.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.tokens import end_tokens

_USER = {"role": "user", "content": "打开 {空调}\n再开窗"}
_ANSWER = {"role": "assistant", "content": '{"do": "open <b>"}'}
_SYSTEM = {"role": "system", "content": "你是助手 & speak plainly"}
_PROBES = (
    [_SYSTEM, _USER],
    [_SYSTEM, _USER, _ANSWER, _USER],
    [_SYSTEM, _USER, _ANSWER, _USER, _ANSWER, _USER],
)
"""Conversations that end where the model is to speak."""


@dataclass(frozen=True)
class ChatML:
    """A ChatML template: turns between `<|im_start|>role` and `<|im_end|>`, and what it adds."""

    system: str  # said first where the conversation has no system message; "" for nothing
    thought: str  # before each answer, such as an empty `<think>` block
    opening: str  # after the line that lets the model speak

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The text of a conversation, as `go_template` writes it."""
        turns = [
            f"<|im_start|>{turn['role']}\n"
            + (self.thought if turn["role"] == "assistant" else "")
            + f"{turn['content']}<|im_end|>\n"
            for turn in messages
        ]
        return "".join(turns) + f"<|im_start|>assistant\n{self.opening}"

    def go_template(self) -> str:
        """The same in Go's language. Ollama puts the Modelfile's SYSTEM among the messages."""
        thought = f'{{{{ if eq .Role "assistant" }}}}{self.thought}{{{{ end }}}}'
        return (
            "{{- range .Messages }}<|im_start|>{{ .Role }}\n"
            + (thought if self.thought else "")
            + "{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
            + self.opening
        )


def find_chatml(tokenizer: Any) -> ChatML | None:
    """The tokenizer's template as ChatML, None where it is of another form."""
    from jinja2 import TemplateError

    def render(messages: list[dict[str, str]]) -> str:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    try:
        bare, first, *others = (render(messages) for messages in ([_USER], *_PROBES))
    except TemplateError:  # such as one that knows no system message
        return None
    opening = first.rpartition("<|im_start|>assistant\n")[2]
    thought = others[0].partition("<|im_start|>assistant\n")[2].partition(_ANSWER["content"])[0]
    system, _, rest = bare.removeprefix("<|im_start|>system\n").partition("<|im_end|>\n")
    system = system if rest and bare.startswith("<|im_start|>system\n") else ""
    found = ChatML(system, thought, opening)
    said = [{"role": "system", "content": system}] if system else []
    same = found.render([*said, _USER]) == bare
    same &= [found.render(messages) for messages in _PROBES] == [first, *others]
    odd = any(mark in thought + opening for mark in ("{{", '"""'))
    return found if same and not odd else None


def write_modelfile(tokenizer: Any, *, weights: str = ".", system: str = "") -> str:
    """The Modelfile's text for `weights`, a path beside it; `system` is the task's instruction.

    TEMPLATE is left out, and the text says why, where the chat template is not ChatML. Raises
    `ValueError` for a system message that a Modelfile cannot quote.
    """
    chatml = find_chatml(tokenizer)
    system = system or (chatml.system if chatml else "")
    if '"""' in system or system.endswith('"'):
        raise ValueError(f"a Modelfile cannot quote this system message: {system!r}")
    lines = [f"FROM {weights}"]
    if chatml:
        lines += ["# Turns of text; tools and their calls are not in this template.",
                  f'TEMPLATE """{chatml.go_template()}"""']  # fmt: skip
    else:
        lines.append("# TEMPLATE is left out: the chat template of this model is not plain ChatML.")
        lines.append("# Write it by hand, after chat_template.jinja, before using the model.")
    if system:
        lines.append(f'SYSTEM """{system}"""')
    stops = tokenizer.convert_ids_to_tokens(sorted(end_tokens(tokenizer)))
    lines += [f'PARAMETER stop "{stop}"' for stop in stops]
    lines.append("PARAMETER temperature 0")  # answers are evaluated so
    return "\n".join(lines) + "\n"
