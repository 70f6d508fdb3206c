"""Vectors of texts: one direction for each, near where two texts say nearly the same.

Offline they are counts of character n-grams, hashed into few places (Weinberger et al., 2009); they
see words and not meanings. An encoder of transformers sees meanings. Both are kept as whole numbers
(`SCALE`), so that comparing them makes no rounding error: what is found does not depend on the
machine, nor on which rows are compared together.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curation.chat import load_text_tokenizer, quiet_libraries
from curation.minhash import hash_grams, pack_bands, text_buffers
from curation.models import best_device
from curation.progress import Progress, Report, silent
from curation.similarity import is_han

SCALE = 4_000
"""Length of a vector. Two of them multiplied stay below 2^24, part for part (Cauchy and Schwarz),
so float32 adds up their products exactly, in whatever order."""
HAN_SIZES, LATIN_SIZES = (2, 3), (3, 4, 5)
"""Characters in the n-grams of a text."""
_WEIGHT = 1_024
_TEXTS = 2_048
"""Texts whose n-grams are in memory at a time."""
_ROWS, _SHORTEST = 16, 16
"""Texts of a batch, and tokens that the shortest are filled up to."""


def hashed_vectors(keys: pl.Series, *, dim: int = 256) -> pl.Series:
    """The vector of each text key as bytes (`pl.Binary`), null where all cancels out.

    Each n-gram adds the root of its count to one of `dim` places, or takes it from there.
    """
    import numpy as np

    sizes = pl.Series([is_han(key) for key in keys], dtype=pl.Boolean).to_numpy()
    out = np.zeros((len(keys), dim), np.int16)
    for at in range(0, len(keys), _TEXTS):
        for script, used in ((True, HAN_SIZES), (False, LATIN_SIZES)):
            places = at + np.flatnonzero(sizes[at : at + _TEXTS] == script)
            if len(places):
                out[places] = quantise(_count_grams(keys.gather(places).to_list(), used, dim))
    return pack_vectors(out)


def model_vectors(
    texts: Sequence[str], *, model: Path | str, revision: str = "", report: Report = silent
) -> pl.Series:
    """The mean of the last hidden states of each text as bytes, null for one of no tokens.

    Of a text that is longer than the model can read the start counts. Every batch has the same
    number of texts, filled up to a length that follows from each text alone, so a vector does not
    depend on what else is in the batch. Raises `ValueError` for a model that gives no numbers.
    """
    import numpy as np

    encoder = load_encoder(model, revision=revision)
    tokenizer = load_text_tokenizer(model, revision=revision)
    # RoBERTa counts positions from the one after its padding token, so two of them are not to use.
    limit = min(tokenizer.model_max_length, encoder.config.max_position_embeddings - 2)
    tokens = tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"] if texts else []
    out = np.zeros((len(tokens), encoder.config.hidden_size), np.int16)
    progress = Progress(len(tokens), "vectors", report)
    for length in sorted({_filled(len(ids), limit) for ids in tokens}):
        alike = [i for i, ids in enumerate(tokens) if ids and _filled(len(ids), limit) == length]
        for places in (alike[at : at + _ROWS] for at in range(0, len(alike), _ROWS)):
            means = _mean_states(encoder, [tokens[i] for i in places], length)
            if not np.isfinite(means).all():
                raise ValueError(f"{str(model)!r} gives vectors that are no numbers")
            out[places] = quantise(means)
            progress.step(len(places))
    return pack_vectors(out)


def quantise(vectors: Any) -> Any:
    """Vectors (rows, dim) of any length as int16 ones of length `SCALE`; those of zeros stay so."""
    import numpy as np

    wide = vectors.astype(np.float64)
    lengths = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    return np.rint(wide * (SCALE / np.where(lengths == 0, 1, lengths))).astype(np.int16)


def pack_vectors(vectors: Any) -> pl.Series:
    """Vectors (int16) as bytes; null for those of zeros."""
    import numpy as np

    packed = pack_bands(vectors.ravel(), np.full(len(vectors), vectors.shape[1]))
    return pl.select(pl.when(pl.Series(vectors.any(axis=1))).then(packed)).to_series()


def unpack_vectors(packed: pl.Series) -> Any:
    """Vectors (rows, dim) as int16, of bytes that are all of one length and none null."""
    import numpy as np

    data, starts = text_buffers(packed)
    return data[starts[0] : starts[-1]].view(np.int16).reshape(len(packed), -1)


def _count_grams(keys: list[str], sizes: Sequence[int], dim: int) -> Any:
    """Signed sums of the weights of n-grams by place, whole numbers: (texts, dim)."""
    import numpy as np

    found = []
    lengths = np.array([len(key) for key in keys])
    for size in sizes:
        widths = np.minimum(lengths, size)  # a text that is shorter than an n-gram is its own
        for width in np.unique(widths):
            places = np.flatnonzero(widths == width)
            hashes, firsts = hash_grams([keys[i] for i in places], int(width))
            owners = np.repeat(places, np.diff(firsts, append=len(hashes)))
            found.append(owners.astype(np.uint64) << np.uint64(32) | hashes)
    named, counts = np.unique(np.concatenate(found), return_counts=True)
    owners, hashes = (named >> np.uint64(32)).astype(np.int64), named.astype(np.uint32)
    # The root is exact to the last bit on every machine, which a logarithm is not.
    weights = np.rint(_WEIGHT * np.sqrt(counts)) * np.where(hashes & np.uint32(1), 1, -1)
    at = owners * dim + (hashes >> np.uint32(1)) % np.uint32(dim)
    return np.bincount(at, weights, len(keys) * dim).reshape(len(keys), dim)


def load_encoder(model: Path | str, *, revision: str = "") -> Any:
    """The model without a head, for inference; in float32 on a GPU, too: cosines ask for it."""
    quiet_libraries()
    import torch
    from transformers import AutoModel

    loaded = AutoModel.from_pretrained(
        str(model),
        revision=revision or None,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.float32,
    )
    return loaded.to(best_device()).eval()


def _filled(tokens: int, limit: int) -> int:
    """Tokens that a text of so many is filled up to: the next power of two that can be read."""
    return min(limit, max(_SHORTEST, 1 << (tokens - 1).bit_length()))


def _mean_states(encoder: Any, tokens: Sequence[Sequence[int]], length: int) -> Any:
    """Mean of the hidden states of each text's own tokens, float64 (texts, hidden size)."""
    import torch

    inputs = torch.full((_ROWS, length), encoder.config.pad_token_id or 0)
    mask = torch.zeros_like(inputs)
    mask[:, 0] = 1  # a text of nothing but padding would be read as no numbers
    for row, ids in enumerate(tokens):
        inputs[row, : len(ids)] = torch.tensor(ids)
        mask[row, : len(ids)] = 1
    inputs, mask = inputs.to(encoder.device), mask.to(encoder.device)
    with torch.inference_mode():
        states = encoder(input_ids=inputs, attention_mask=mask).last_hidden_state.double()
        share = mask[:, :, None].double()
        means = (states * share).sum(dim=1) / share.sum(dim=1)
    return means[: len(tokens)].cpu().numpy()
