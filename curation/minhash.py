"""MinHash: bands that tell which texts may be near each other.

datasketch says what a signature is: the 32-bit hash of each n-gram goes through MurmurHash3's
finaliser, then through `a * h + b mod 2^32` in each lane, and of each lane the least stays (its
scheme `affine32`). Three engines make the same bits: a compiled kernel for many texts, numpy for a
few, where loading the kernel would take longer than the work, and datasketch itself, which the
tests hold the other two against.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import polars as pl

from curation.similarity import SIGNED, grams, signed_sizes, solve_bands

Engine = Literal["kernel", "numpy", "datasketch"]

_SLICE = 8_192
"""Texts whose signatures are in memory at a time; those of so many stay in a core's cache."""
_MANY = 4_096
"""Texts from which on the kernel is worth loading (.8 s)."""
_FEW_GRAMS, _BLOCK = 64, 128
"""Texts of fewer n-grams are signed by numpy in blocks of so many."""
_REGISTERS = 64
"""The kernel takes so many lanes at a time (four vector registers); it wants none left over."""
_MASK = 0xFFFFFFFF


def sign_keys(
    keys: pl.Series,
    *,
    threshold: float = 0.8,
    permutations: int = 128,
    seed: int = 1,
    engine: Engine | None = None,
) -> pl.Series:
    """The bands of each text key: texts that share one may be near each other.

    They come as bytes (`pl.Binary`), uint32 as this machine holds them, which Parquet reads ten
    times faster than lists; `flat_bands` reads them. `solve_bands` says how many there are. A text
    near a limit of length or script has a second set of bands, for the n-grams of the texts beyond
    that limit. Without an `engine` the number of texts decides. Raises `ValueError` for a threshold
    that is no Jaccard index.
    """
    _check_threshold(threshold)
    engine = engine or ("kernel" if len(keys) >= _MANY else "numpy")
    sign = _sign_compiled if engine == "kernel" else _sign_each
    pieces = [pl.Series([], dtype=pl.Binary)]
    for piece in (keys[at : at + _SLICE] for at in range(0, len(keys), _SLICE)):
        bands, sets = sign(piece, threshold, permutations, seed, engine)
        pieces.append(pack_bands(bands, sets * bands.shape[1]))
    return pl.concat(pieces)


def sign_columns(keys: pl.Series, *, threshold: float) -> tuple[Any, Any]:
    """The bands that `sign_keys` gives, a line for each place in a set, and whose each set is.

    The lines (uint32) are longer than the sets, which are as many as there are owners (int32). What
    is compared is the bands of one place; so they lie together, without the bytes between, which
    would be as much memory again.
    """
    import numpy as np

    _check_threshold(threshold)
    bands, _ = solve_bands(threshold, 128)
    room = 2 * len(keys)
    out = np.empty((bands, room), np.uint32)  # what is not written to takes no memory
    owners, found = np.empty(room, np.int32), 0
    for at in range(0, len(keys), _SLICE):
        piece, mine = keys[at : at + _SLICE], owners[found:]
        count = _sign_into(out.ravel()[found:], (1, room), mine, piece, threshold, 128, 1)
        mine[:count] += at
        found += count
    return out, owners[:found]


def _check_threshold(threshold: float) -> None:
    if not 0 < threshold <= 1:
        raise ValueError(f"the threshold is {threshold!r}, not a Jaccard index in 0..1")


def hash_gram(gram: str) -> int:
    """The 32-bit hash of an n-gram: datasketch's `hashfunc`, a polynomial of mixed characters."""
    found = 0
    for character in gram:
        mixed = ord(character) * 0x9E3779B1 & _MASK
        found = (found * 0x85EBCA77 + (mixed ^ mixed >> 15)) & _MASK
    return found


def pack_bands(bands: Any, counts: Any) -> pl.Series:
    """Bands of rows (uint32) one after another as `sign_keys` gives them, so many for each row."""
    import numpy as np
    import pyarrow as pa

    ends = np.concatenate([[0], counts.cumsum() * bands.itemsize]).astype(np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(bands.tobytes())]
    packed = pa.Array.from_buffers(pa.large_binary(), len(counts), buffers)
    return pl.Series(packed, dtype=pl.Binary)


def flat_bands(packed: pl.Series) -> tuple[Any, Any]:
    """All bands one after another (uint32), and where those of each row end (int64)."""
    import numpy as np

    data, offsets = text_buffers(packed)
    first, last = offsets[0], offsets[-1]
    return data[first:last].view(np.uint32), (offsets[1:] - first) // 4


def text_buffers(texts: pl.Series) -> tuple[Any, Any]:
    """The UTF-8 of all texts one after another (uint8), and where each starts and the last ends.

    Bytes that are no text are taken as they are.
    """
    import numpy as np
    import pyarrow as pa

    kind = pa.large_binary() if texts.dtype == pl.Binary else pa.large_string()
    array = texts.to_arrow().cast(kind)
    _, offsets, data = array.buffers()
    starts = np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8)
    return np.frombuffer(data or b"", np.uint8), starts


def _sign_compiled(
    keys: pl.Series, threshold: float, permutations: int, seed: int, _: Engine
) -> tuple[Any, Any]:
    """Sets of bands (sets, bands) in the order of the texts, and how many sets each text has."""
    import numpy as np

    bands = solve_bands(threshold, permutations)[0]
    out, owners = np.empty((2 * len(keys), bands), np.uint32), np.empty(2 * len(keys), np.int32)
    found = _sign_into(out.ravel(), (bands, 1), owners, keys, threshold, permutations, seed)
    return out[:found], np.bincount(owners[:found], minlength=len(keys))


def _sign_into(
    out: Any,
    steps: tuple[int, int],
    owners: Any,
    keys: pl.Series,
    threshold: float,
    permutations: int,
    seed: int,
) -> int:
    """Write the sets of bands of the texts, and whose each is; returns how many sets there are."""
    from curation import kernels

    shape = solve_bands(threshold, permutations)
    a, b = (_lanes_by_place(lanes, *shape) for lanes in permutations_of(permutations, seed))
    texts = text_buffers(keys)
    return kernels.sign(*texts, threshold, SIGNED, a, b, shape, out, steps, owners)


def _lanes_by_place(lanes: Any, bands: int, rows: int) -> Any:
    """Lanes as the kernel takes them: the first of all bands, then the second of all, and so on.

    So the bands can be folded abreast. Lanes of zeros that no band reads fill the last registers.
    """
    import numpy as np

    by_place = lanes[: bands * rows].reshape(bands, rows).T.ravel()
    return np.pad(by_place, (0, -len(by_place) % _REGISTERS))


def _sign_each(
    keys: pl.Series, threshold: float, permutations: int, seed: int, engine: Engine
) -> tuple[Any, Any]:
    """The same, by numpy or datasketch."""
    import numpy as np

    bands, rows = solve_bands(threshold, permutations)
    sizes = [signed_sizes(key, threshold) for key in keys]
    wanted = [(key, size) for key, own in zip(keys, sizes, strict=True) for size in own]
    sign = _sign_by_numpy if engine == "numpy" else _sign_by_datasketch
    signatures = sign(wanted, permutations, seed)[:, : bands * rows]
    tags = np.array([size for _, size in wanted], np.uint32) * np.uint32(0x85EBCA77)
    mixed = tags[:, None] + np.arange(bands, dtype=np.uint32) * np.uint32(0xC2B2AE35)
    for lanes in np.moveaxis(signatures.reshape(-1, bands, rows), 2, 0):
        mixed = stir(mixed ^ lanes)
    # Every pair is verified, so a chance one among 32 bits costs only time.
    return mixed, np.array([len(own) for own in sizes])


def _sign_by_datasketch(wanted: Sequence[tuple[str, int]], permutations: int, seed: int) -> Any:
    """datasketch's signatures of the n-grams of each (text, n), uint32 (texts, permutations)."""
    import numpy as np
    from datasketch import MinHash

    blank = MinHash(num_perm=permutations, seed=seed, hashfunc=hash_gram, scheme="affine32")
    out = np.empty((len(wanted), permutations), np.uint32)
    for i, (key, size) in enumerate(wanted):
        signature = blank.copy()
        signature.update_batch(grams(key, size))
        out[i] = signature.hashvalues
    return out


def _sign_by_numpy(wanted: Sequence[tuple[str, int]], permutations: int, seed: int) -> Any:
    """The same from arrays; texts whose n-grams have the same width are signed together."""
    import numpy as np

    lanes = permutations_of(permutations, seed)
    out = np.empty((len(wanted), permutations), np.uint32)
    counts = np.array([max(1, len(key) - size + 1) for key, size in wanted], dtype=np.int64)
    widths = np.array([min(size, len(key)) for key, size in wanted], dtype=np.int64)
    for short, least in ((True, _least_by_text), (False, _least_by_lane)):
        for width in np.unique(widths[chosen := (counts < _FEW_GRAMS) == short]):
            places = np.flatnonzero(chosen & (widths == width))
            hashes, firsts = hash_grams([wanted[i][0] for i in places.tolist()], int(width))
            out[places] = least(hashes, firsts, counts[places], *lanes)
    return out


def _least_by_lane(hashes: Any, firsts: Any, _: Any, a: Any, b: Any) -> Any:
    """The least number of each lane of each text: a lane after another, the hashes of all texts."""
    import numpy as np

    out = np.empty((len(firsts), len(a)), np.uint32)
    for lane in range(len(a)):
        out[:, lane] = np.minimum.reduceat(a[lane] * hashes + b[lane], firsts)
    return out


def _least_by_text(hashes: Any, firsts: Any, counts: Any, a: Any, b: Any) -> Any:
    """The same for texts of few n-grams: one n-gram of each after another, all lanes at once.

    A block of texts, the longest first, fits the caches with its lanes.
    """
    import numpy as np

    out = np.full((len(firsts), len(a)), _MASK, np.uint32)
    order = np.argsort(-counts, kind="stable")
    found = np.empty((_BLOCK, len(a)), np.uint32)
    for rows in (order[at : at + _BLOCK] for at in range(0, len(order), _BLOCK)):
        first, count, best = firsts[rows], counts[rows], out[rows]
        for at in range(count[0]):
            still = int((count > at).sum())
            here = np.multiply.outer(hashes[first[:still] + at], a, out=found[:still])
            here += b
            np.minimum(best[:still], here, out=best[:still])
        out[rows] = best
    return out


def hash_grams(texts: Sequence[str], width: int) -> tuple[Any, Any]:
    """The finished hashes of all n-grams of the texts, and where those of each text start."""
    import numpy as np

    points = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    mixed = points * np.uint32(0x9E3779B1)
    mixed ^= mixed >> 15
    lengths = np.array([len(text) for text in texts])
    counts = lengths - width + 1
    firsts = counts.cumsum() - counts
    starts = np.repeat(lengths.cumsum() - lengths - firsts, counts) + np.arange(counts.sum())
    found = np.zeros(len(starts), np.uint32)
    for at in range(width):
        found = found * np.uint32(0x85EBCA77) + mixed[starts + at]
    found = (found ^ found >> 16) * np.uint32(0x85EBCA6B)
    found = (found ^ found >> 13) * np.uint32(0xC2B2AE35)
    return found ^ found >> 16, firsts


def stir(x: Any) -> Any:
    """Mix the bits of each number (uint32); no two become one."""
    import numpy as np

    x = x * np.uint32(0x9E3779B1)
    return x ^ x >> 15


@cache
def permutations_of(number: int, seed: int) -> tuple[Any, Any]:
    """datasketch's multipliers and addends (`affine32`), uint32.

    They are drawn here as there: its import takes longer than signing a thousand texts.
    """
    import numpy as np

    draw = np.random.RandomState(seed)
    odd = draw.randint(0, 2**31, number, np.uint32) * np.uint32(2) + np.uint32(1)
    return odd, draw.randint(0, 2**32, number, np.uint32)
