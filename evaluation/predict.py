"""What a model answers and how sure it is of the right answer, many rows at a time.

Always on the artefact that would be released: base weights in 16 or 32 bit with the adapter merged
in, asked through the chat template packaged with the adapter.
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from curation import losses
from curation.chat import Messages, encode_prompts, length_batches, load_tokenizer
from curation.models import alike_batches, has_virtual_tokens, load_causal_lm, pad_batch
from curation.progress import Progress, Report, silent

BATCH_TOKENS = 16_384
"""Tokens that are answered together, prompts and answers, padding included."""


@dataclass(frozen=True)
class Predictor:
    """A loaded model with its tokenizer, to be asked more than once."""

    model: Any
    tokenizer: Any


class Loss(NamedTuple):
    """What an answer costs a model; nats and tokens are None where it cannot read the row."""

    nats: float | None
    n_tokens: int | None  # with the end of turn
    n_bytes: int  # UTF-8, without it


class Speed(NamedTuple):
    """What answers cost: tokens are those of answers with their end of turn."""

    n_params: int
    tokens_per_s: float
    tokens_per_answer: float


def load_predictor(
    base_model: Path | str, *, adapter: Path | None = None, revision: str = ""
) -> Predictor:
    """The merged model; the tokenizer is the adapter's where it carries one."""
    own = adapter if adapter is not None and (adapter / "tokenizer_config.json").exists() else None
    tokenizer = load_tokenizer(own) if own else load_tokenizer(base_model, revision=revision)
    return Predictor(load_causal_lm(base_model, adapter=adapter, revision=revision), tokenizer)


def generate_answers(
    prompts: Sequence[Messages],
    *,
    base_model: Path | str,
    adapter: Path | None = None,
    max_new_tokens: int = 128,
    batch_tokens: int = BATCH_TOKENS,
    revision: str = "",
    report: Report = silent,
) -> list[str]:
    """The greedy answer to each prompt (messages that end before the answer), in their order.

    An answer that is not finished after `max_new_tokens` is returned as far as it got.
    """
    predictor = load_predictor(base_model, adapter=adapter, revision=revision)
    return predict_answers(
        predictor, prompts, max_new_tokens=max_new_tokens, batch_tokens=batch_tokens, report=report
    )


def predict_answers(
    predictor: Predictor,
    prompts: Sequence[Messages],
    *,
    max_new_tokens: int = 128,
    batch_tokens: int = BATCH_TOKENS,
    report: Report = silent,
) -> list[str]:
    """`generate_answers` with a model that is already loaded.

    Rows are answered together while prompts and answers may come to `batch_tokens`: that is what
    a model keeps in memory, and many short ones cost little more than one.
    """
    encoded = encode_prompts(predictor.tokenizer, prompts)
    sizes = [len(ids) + max_new_tokens for ids in encoded]
    answers = [""] * len(encoded)
    progress = Progress(len(encoded), "answers", report)
    batches = length_batches(sizes, max_tokens=batch_tokens)
    if has_virtual_tokens(predictor.model):
        batches = alike_batches(batches, sizes)
    for batch in batches:
        texts = _generate(predictor, [encoded[i] for i in batch], max_new_tokens)
        for index, text in zip(batch, texts, strict=True):
            answers[index] = text
        progress.step(len(batch))
    return answers


def measure_speed(
    predictor: Predictor, prompts: Sequence[Messages], *, max_new_tokens: int = 128
) -> Speed:
    """How fast these prompts (at least one) are answered, after one token that is not counted."""
    predict_answers(predictor, prompts[:1], max_new_tokens=1)  # what is loaded on first use
    started = time.perf_counter()
    answers = predict_answers(predictor, prompts, max_new_tokens=max_new_tokens)
    seconds = time.perf_counter() - started
    n_tokens = sum(
        min(len(ids) + 1, max_new_tokens)
        for ids in predictor.tokenizer(answers, add_special_tokens=False)["input_ids"]
    )
    return Speed(predictor.model.num_parameters(), n_tokens / seconds, n_tokens / len(answers))


def answer_losses(
    chats: Sequence[Messages],
    *,
    base_model: Path | str,
    adapter: Path | None = None,
    revision: str = "",
    report: Report = silent,
) -> list[Loss]:
    """The loss of each last answer, given all that precedes it.

    Bits per byte of many rows is sum(nats) / ln 2 / sum(bytes); the nats include the end of turn.
    """
    return predict_losses(
        load_predictor(base_model, adapter=adapter, revision=revision), chats, report=report
    )


def predict_losses(
    predictor: Predictor, chats: Sequence[Messages], *, report: Report = silent
) -> list[Loss]:
    """`answer_losses` with a model that is already loaded."""
    found = losses.answer_losses(predictor.model, predictor.tokenizer, chats, report=report)
    sizes = [len(chat[-1]["content"].encode()) for chat in chats]
    return [Loss(*(loss or (None, None)), n) for loss, n in zip(found, sizes, strict=True)]


def _generate(
    predictor: Predictor, prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> list[str]:
    import torch

    model, tokenizer = predictor.model, predictor.tokenizer
    # Padding stands on the left, so that every row's next token is in the last column.
    inputs = pad_batch(prompts, pad=tokenizer.pad_token_id, left=True)
    with torch.inference_mode(), warnings.catch_warnings():
        # Said by peft of virtual tokens; rows of one length have no other positions.
        warnings.filterwarnings("ignore", "Position ids are not supported", UserWarning)
        out = model.generate(
            input_ids=inputs["input_ids"].to(model.device),
            attention_mask=inputs["attention_mask"].to(model.device),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=_end_ids(model, tokenizer),
        )
    width = inputs["input_ids"].shape[1]
    return [
        text.strip() for text in tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
    ]


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    known = model.generation_config.eos_token_id
    known = known if isinstance(known, list) else [known]
    return sorted({tokenizer.eos_token_id, *(k for k in known if k is not None)})
