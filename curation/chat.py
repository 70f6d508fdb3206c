"""Conversations as token ids: the one place where a chat template meets a tokenizer.

Scorers, training and evaluation read rows through the same template, the one packaged with the
model, so what is trained, scored and asked is the same text down to the token.
"""

import json
import logging
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Messages = Sequence[Mapping[str, str]]
"""Turns with `role`, `content` and optionally `tool_calls` as JSON text."""

_NOISY = (
    "bitsandbytes",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "accelerate",
    "torchao",
    "httpx",
)


def quiet_libraries() -> None:
    """Turn the chatter of the model libraries down to errors; nothing is caught or hidden."""
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    # peft asks transformers for an attribute that is about to be renamed; only they can act on it.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def load_tokenizer(model: Path | str, *, revision: str = "") -> Any:
    """The tokenizer of a local folder or hub id, its template marking the turns that are trained.

    Raises `ValueError` when the model has no chat template that marks the assistant's tokens.
    """
    tokenizer = load_text_tokenizer(model, revision=revision)
    tokenizer.chat_template = _training_template(tokenizer, str(model))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_text_tokenizer(model: Path | str, *, revision: str = "") -> Any:
    """The tokenizer of a model that reads plain text, as classifiers do; it needs no template."""
    quiet_libraries()
    if _is_plain(Path(model)):
        from transformers import TokenizersBackend as Tokenizer
    else:
        from transformers import AutoTokenizer as Tokenizer
    # Said and not left open: an unset answer asks on the terminal whether to run the model's code.
    return Tokenizer.from_pretrained(
        str(model), revision=revision or "main", trust_remote_code=False
    )


def _is_plain(folder: Path) -> bool:
    """Whether this folder's tokenizer says that it is `tokenizer.json` and nothing else.

    Then no model's class is needed to read it; looking for one imports PyTorch, which takes longer
    than all else here.
    """
    try:
        said = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return said.get("tokenizer_class") == "TokenizersBackend" and "auto_map" not in said


def encode_chats(
    tokenizer: Any, chats: Sequence[Messages], *, tools: Sequence[str] = ()
) -> list[tuple[list[int], list[bool]]]:
    """Token ids of each conversation, and for each token whether it is the assistant's.

    The end-of-turn token of an assistant turn counts as the assistant's. A conversation that the
    template refuses comes back as two empty lists. `tools` is empty or one JSON text for each.
    """
    listed = tools or [""] * len(chats)
    rendered = [_render(tokenizer, c, t) for c, t in zip(chats, listed, strict=True)]
    # One batch call tokenises in parallel and keeps the offsets that a call per row loses time on.
    encodings = tokenizer.backend_tokenizer.encode_batch(
        [text for text, _ in rendered], add_special_tokens=False
    )
    return [
        (e.ids, _assistant_mask(e, spans))
        for e, (_, spans) in zip(encodings, rendered, strict=True)
    ]


def encode_safe(
    tokenizer: Any, chats: Sequence[Messages], *, tools: Sequence[str] = ()
) -> list[tuple[list[int], list[bool]]]:
    """`encode_chats` for training: two empty lists also where text would be a control token."""
    encoded = encode_chats(tokenizer, chats, tools=tools)
    special = hold_special(tokenizer, chats, tools=tools)
    return [([], []) if s else e for e, s in zip(encoded, special, strict=True)]


def encode_prompts(tokenizer: Any, prompts: Sequence[Messages]) -> list[list[int]]:
    """Token ids of each conversation, ending where the assistant is to speak."""
    texts = [
        tokenizer.apply_chat_template(_turns(p), tokenize=False, add_generation_prompt=True)
        for p in prompts
    ]
    return [
        e.ids for e in tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    ]


def hold_special(
    tokenizer: Any, chats: Sequence[Messages], *, tools: Sequence[str] = ()
) -> list[bool]:
    """Whether the text of each conversation, outside the template, encodes to a control token.

    The tokenizer itself is asked: one that folds width or case finds more than the plain spelling.
    """
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    special = (special | set(tokenizer.all_special_ids)) - {tokenizer.unk_token_id}
    listed = tools or [""] * len(chats)
    texts = [text_of(c, t) for c, t in zip(chats, listed, strict=True)]
    may = _may_encode_to(tokenizer, special)
    asked = [place for place, text in enumerate(texts) if may(text)]
    encodings = tokenizer.backend_tokenizer.encode_batch(
        [texts[place] for place in asked], add_special_tokens=False
    )
    pairs = zip(asked, encodings, strict=True)
    held = {place for place, found in pairs if not special.isdisjoint(found.ids)}
    return [place in held for place in range(len(texts))]


def _may_encode_to(tokenizer: Any, special: Iterable[int]) -> Callable[[str], bool]:
    """Passes over texts in which no name of these tokens is, whatever its width, case and spaces.

    That takes a tenth of the time of encoding them.
    """
    tokens = tokenizer.convert_ids_to_tokens(sorted(special))
    spelled = [tokenizer.convert_tokens_to_string([token]) for token in tokens]
    names = {_bare(name) for name in [*tokens, *spelled]}
    normalizer = tokenizer.backend_tokenizer.normalizer
    if "" in names:
        return lambda text: True
    any_name = re.compile("|".join(map(re.escape, sorted(names))) or r"(?!)")

    def may(text: str) -> bool:
        both = (text, normalizer.normalize_str(text)) if normalizer else (text,)
        return any(any_name.search(_bare(one)) for one in both)

    return may


def _bare(text: str) -> str:
    """Text without what a tokenizer may fold away: width, case and spaces, however it marks one."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().replace("▁", " ").split())


def text_of(messages: Messages, tools: str = "") -> str:
    """Everything a conversation puts into the template, joined by line breaks."""
    calls = [m.get("tool_calls") or "" for m in messages]
    return "\n".join([*(m["content"] for m in messages), *map(_unescaped, [tools, *calls])])


def _unescaped(text: str) -> str:
    """JSON text as a template writes it: without the escapes that hide a character."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False) if text else ""
    except ValueError:
        return text


def length_batches(lengths: Sequence[int], *, max_tokens: int) -> Iterable[list[int]]:
    """Indices grouped by length so that rows x longest row stays within `max_tokens` a batch.

    A row that is longer than `max_tokens` alone makes a batch of its own.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[index] > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _training_template(tokenizer: Any, model: str) -> str:
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template["default"]
    if not template:
        raise ValueError(f"{model!r} has no chat template; choose an instruction-tuned base model")
    if re.search(r"{%-?\s*generation\s*-?%}", template):
        return template
    from trl.chat_template_utils import get_training_chat_template

    marked = get_training_chat_template(tokenizer)
    if marked is None:
        raise ValueError(f"the chat template of {model!r} does not mark the assistant's tokens")
    return marked


def _render(tokenizer: Any, messages: Messages, tools: str) -> tuple[str, list[tuple[int, int]]]:
    """The text of a conversation and the character spans that the template marks as generated."""
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        rendered: Any = render_jinja_template(
            conversations=[_turns(messages)],
            tools=json.loads(tools) if tools else None,
            chat_template=tokenizer.chat_template,
            return_assistant_tokens_mask=True,
            **tokenizer.special_tokens_map,
        )
    except (
        TemplateError,
        TypeError,
        ValueError,
    ):  # ValueError: tools or tool calls that are not JSON
        return "", []
    texts, spans = rendered
    return texts[0], spans[0]


def _turns(messages: Messages) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for message in messages:
        turn: dict[str, Any] = {"role": message["role"], "content": message["content"]}
        if message.get("tool_calls"):
            turn["tool_calls"] = json.loads(message["tool_calls"])
        turns.append(turn)
    return turns


def _assistant_mask(encoding: Any, spans: Iterable[tuple[int, int]]) -> list[bool]:
    mask = [False] * len(encoding.ids)
    for start, end in spans:
        first, last = encoding.char_to_token(start), encoding.char_to_token(end - 1)
        if first is None:
            break
        stop = len(mask) if last is None else last + 1
        mask[first:stop] = [True] * (stop - first)
    return mask
