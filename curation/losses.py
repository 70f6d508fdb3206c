"""How well a language model foretells answers and texts, in nats.

What many rows begin with (a system prompt, a template's own words, the schemas of tools) is read
once, and every row on behind it. Rows of a beginning are sorted by length and batched by a token
budget; a row's number does not depend on its neighbours beyond float noise, and one that cannot be
read gives `None` and costs nobody else.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from curation.chat import Messages, encode_chats
from curation.models import has_virtual_tokens, model_batches, most_tokens, pad_batch
from curation.prefixes import shared_prefixes
from curation.progress import Progress, Report, silent

_AT_ONCE = 1_024
"""Positions whose logits are taken to single precision together: of a large vocabulary many GB."""

_LENT = 4
"""Tokens of a shared beginning that count as one that is read: a row has their keys and values, of
one layer at a time, and nothing else. So counted, a batch took as much memory as of whole rows."""


def answer_losses(
    model: Any,
    tokenizer: Any,
    chats: Sequence[Messages],
    *,
    tools: Sequence[str] = (),
    batch_tokens: int = 8192,
    what: str = "answer losses",
    report: Report = silent,
) -> list[tuple[float, int] | None]:
    """(nats, tokens) of each last answer with its end of turn, given all that precedes it.

    `None` where the template refuses the conversation, it has no answer, or it is longer than the
    model can read.
    """
    encoded = encode_chats(tokenizer, chats, tools=tools)
    sequences, answers = [ids for ids, _ in encoded], [_last_answer(mask) for _, mask in encoded]
    options = {"batch_tokens": batch_tokens, "what": what, "report": report}
    return span_losses(model, tokenizer, sequences, answers, **options)


def span_losses(
    model: Any,
    tokenizer: Any,
    sequences: Sequence[Sequence[int]],
    spans: Sequence[tuple[int, int]],
    *,
    batch_tokens: int = 8192,
    what: str = "losses",
    report: Report = silent,
) -> list[tuple[float, int] | None]:
    """(nats, tokens) of a stretch (start, stop) of each sequence, given all that precedes it.

    A stretch starts at 1 or later. `None` where it is empty or the sequence is longer than the
    model can read.
    """
    limit = model.config.max_position_embeddings
    stretches = [
        _Stretch(row, ids, start, stop)
        for row, (ids, (start, stop)) in enumerate(zip(sequences, spans, strict=True))
        if start < stop and len(ids) <= limit
    ]
    results: list[tuple[float, int] | None] = [None] * len(sequences)
    progress = Progress(len(stretches), what, report)
    lends = _lends(model)
    # The token before a stretch foretells its first, so it is read in every row.
    heads = [list(one.ids[: one.start - 1]) if lends else [] for one in stretches]
    for n_shared, group in shared_prefixes(heads, cost=most_tokens(model, batch_tokens)):
        prefix = _read_prefix(model, heads[group[0]][:n_shared])
        lengths = [stretches[i].stop - 1 - n_shared + n_shared // _LENT for i in group]
        for batch in model_batches(model, lengths, batch_tokens):
            read = [stretches[group[b]] for b in batch]
            for one, nats in zip(read, _batch_nats(model, tokenizer, prefix, read), strict=True):
                results[one.row] = (nats, one.stop - one.start)
            progress.step(len(read))
    return results


class _Stretch(NamedTuple):
    """Tokens of a row, from start to stop, that are to be foretold."""

    row: int
    ids: Sequence[int]
    start: int
    stop: int


class _Prefix(NamedTuple):
    """Tokens that rows begin with, and what a model is given to read on behind them."""

    n_tokens: int
    given: dict[str, Any]


def _read_prefix(model: Any, ids: Sequence[int]) -> _Prefix:
    """These tokens, read once; where there are none, a model is given nothing and keeps nothing."""
    if not ids:
        return _Prefix(0, {"use_cache": False})
    import torch

    from curation.prefix_cache import lend_cache

    inputs = {k: v.to(model.device) for k, v in pad_batch([ids], pad=0, left=True).items()}
    with torch.inference_mode():  # by the decoder: nothing is foretold, so no logits are built
        read = model.get_decoder()(**inputs, use_cache=True).past_key_values
    return _Prefix(len(ids), {"use_cache": True, "past_key_values": lend_cache(read)})


def _lends(model: Any) -> bool:
    """Whether rows of this model can be read on behind tokens that were read without them.

    They cannot where it keeps other things than keys and values of every token, counts distances by
    columns and not by masks and positions, or has rotary frequencies that the longest row sets.
    """
    if has_virtual_tokens(model) or not model.is_backend_compatible():
        return False
    ropes = {str(getattr(part, "rope_type", "")) for part in model.modules()}
    if any(moving in rope for rope in ropes for moving in ("dynamic", "longrope")):
        return False
    import torch

    from curation.prefix_cache import lend_cache

    with torch.inference_mode():
        token = torch.zeros(1, 1, dtype=torch.int64, device=model.device)
        read = model.get_decoder()(input_ids=token, use_cache=True).get("past_key_values")
    return read is not None and lend_cache(read) is not None


def _batch_nats(
    model: Any, tokenizer: Any, prefix: _Prefix, stretches: Sequence[_Stretch]
) -> list[float]:
    """Nats of each stretch; the rows of all begin with the prefix.

    Padded on the left, every stretch is foretold by the last columns: only their logits are built.
    Its last token foretells nothing that is asked, so neither it nor what comes after it is read.
    """
    import torch

    read = [one.ids[prefix.n_tokens : one.stop - 1] for one in stretches]
    said = torch.tensor([token for one in stretches for token in one.ids[one.start : one.stop]])
    counts = torch.tensor([one.stop - one.start for one in stretches])
    keep = int(counts.max())
    with torch.inference_mode():
        inputs = _behind(prefix, pad_batch(read, pad=tokenizer.pad_token_id, left=True))
        if has_virtual_tokens(model):  # then nothing is padded, and peft counts by itself
            del inputs["position_ids"], inputs["attention_mask"]
        inputs = {name: values.to(model.device) for name, values in inputs.items()}
        logits = model(**inputs, **prefix.given, logits_to_keep=keep).logits
        asked = (torch.arange(keep) >= keep - counts[:, None]).to(model.device)
        nats = [
            torch.nn.functional.cross_entropy(some.float(), those, reduction="none").double()
            for some, those in zip(
                logits[asked].split(_AT_ONCE), said.to(model.device).split(_AT_ONCE), strict=True
            )
        ]
    return [one.sum().item() for one in torch.cat(nats).split(counts.tolist())]


def _behind(prefix: _Prefix, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs of rows that stand behind a prefix, all of which they see."""
    import torch

    seen = torch.ones(len(inputs["input_ids"]), prefix.n_tokens, dtype=torch.int64)
    mask = torch.cat([seen, inputs["attention_mask"]], dim=1)
    positions = inputs["position_ids"] + prefix.n_tokens
    return inputs | {"attention_mask": mask, "position_ids": positions}


def _last_answer(mask: Sequence[bool]) -> tuple[int, int]:
    """Start and stop of the last run of the assistant's tokens; 0, 0 when there is none."""
    stop = len(mask)
    while stop and not mask[stop - 1]:
        stop -= 1
    start = stop
    while start and mask[start - 1]:
        start -= 1
    return (start, stop) if 0 < start < stop else (0, 0)
