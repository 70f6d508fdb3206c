"""Frames in their canonical order, and what they say: the same rows give the same bytes and digest.

A frame's digest is a sum over its rows (Bellare and Micciancio, 1997: AdHash), so a change costs
only the rows that changed.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import polars.selectors as cs

from curation.rows import canonical_json

TEXT = ("messages", "tools")
"""Columns that a row's id names."""
ROW_GROUP = 16_384
"""Rows that are read together to find one of them."""
TEXT_GROUP = 2_048
"""The same of rows with texts, which take longest to read and of which few are wanted at a time."""
_SLICE = 65_536
_AT_ONCE = 32
_MODULUS = 2**256


@dataclass(frozen=True)
class Change:
    """What became of a table: rows that are new or different, and keys of those that are gone.

    `upserts` has the table's columns. `gone` has the key columns: `id`, or all of them where a
    table has no ids.
    """

    upserts: pl.DataFrame
    gone: pl.DataFrame

    @property
    def is_empty(self) -> bool:
        return self.upserts.is_empty() and self.gone.is_empty()


@dataclass(frozen=True)
class Bare:
    """A whole table whose rows' texts are known already: all columns of `schema` but the texts."""

    frame: pl.DataFrame
    schema: pl.Schema


def compare(old: pl.DataFrame, new: pl.DataFrame, *, key: Sequence[str] | None = None) -> Change:
    """What leads from one frame to another of the same columns; texts are not compared."""
    key = list(key or key_of(new))
    if key != ["id"]:
        return Change(
            new.join(old, on=key, how="anti", nulls_equal=True),
            old.join(new, on=key, how="anti", nulls_equal=True).select(key),
        )
    plain = [c for c in new.columns if c not in TEXT]
    # Polars' hash is fit for comparing within one process, and for nothing that is kept.
    before = old.select("id", __hash=old.select(plain).hash_rows())
    after = new.with_columns(__hash=new.select(plain).hash_rows())
    upserts = after.join(before, on=["id", "__hash"], how="anti").drop("__hash")
    return Change(upserts, old.select("id").join(new.select("id"), on="id", how="anti"))


def key_of(frame: pl.DataFrame) -> list[str]:
    """What tells rows of a table apart: its `id` where that is unique, else the whole row."""
    if "id" in frame.columns and frame["id"].dtype == pl.String and _differ(frame["id"]):
        return ["id"]
    return frame.columns


def _differ(ids: pl.Series) -> bool:
    """Whether no id stands there twice; in order, as they mostly come, it takes no table of all."""
    if ids.is_sorted(nulls_last=True):
        return not ids[1:].eq_missing(ids[:-1]).any()
    return ids.n_unique() == len(ids)


def in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame sorted by `id` first and then by every other plain column.

    One that is so already is not copied, which may be most of the memory, unless it has lists:
    how Parquet writes those follows the chunks that they lie in.
    """
    plain = [c for c, kind in frame.schema.items() if not kind.is_nested()]
    keys = sorted(plain, key=lambda c: (c != "id", frame.columns.index(c)))
    if frame.height > 1 and "id" in keys and _differ(frame["id"]):
        if frame["id"].is_sorted(nulls_last=True):
            return frame if len(plain) == frame.width else frame.rechunk()
        keys = ["id"]
    return (frame.sort(keys, nulls_last=True) if keys else frame).rechunk()


def collect_many(scans: Sequence[pl.LazyFrame]) -> list[pl.DataFrame]:
    """What `pl.collect_all` gives, a few at a time: each file that is open takes threads of it."""
    parts = (scans[at : at + _AT_ONCE] for at in range(0, len(scans), _AT_ONCE))
    return [frame for part in parts for frame in pl.collect_all(part)]


def frame_digest(frame: pl.DataFrame) -> str:
    """What a frame says, whatever its row order: 64 hex digits over columns, types and rows."""
    return digest_of(say_schema(frame.schema), frame.height, row_sum(frame))


def row_sum(frame: pl.DataFrame) -> int:
    """Sum of the sha256 of every row's JSON, mod 2^256; texts are told by their id."""
    has_id = "id" in frame.columns
    plain = [c for c in frame.columns if not (has_id and c in TEXT)]
    floats = [c for c in plain if frame.schema[c].is_float()]
    total = 0
    for part in frame.select(plain).iter_slices(_SLICE):
        # JSON has no NaN, and would say the same of it as of a null; nor has it bytes.
        said = part.with_columns(pl.col(floats).cast(pl.String), cs.binary().bin.encode("hex"))
        lines = said.write_ndjson().encode()
        digests = (hashlib.sha256(line).digest() for line in lines.split(b"\n")[:-1])
        total += sum(int.from_bytes(digest) for digest in digests)
    return total % _MODULUS


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    """A frame in its canonical order as Parquet; the same rows give the same bytes."""
    out, group = io.BytesIO(), TEXT_GROUP if {*TEXT} & {*frame.columns} else ROW_GROUP
    in_order(frame).rechunk().write_parquet(out, compression="zstd", row_group_size=group)
    return out.getvalue()


def mapped_bytes(frame: pl.DataFrame) -> bytes:
    """A frame as an uncompressed Arrow file, to be mapped into memory; its rows as they stand."""
    out = io.BytesIO()
    frame.write_ipc(out, compression="uncompressed")
    return out.getvalue()


def say_schema(schema: pl.Schema) -> str:
    return canonical_json([[name, str(kind)] for name, kind in schema.items()])


def digest_of(schema: str, rows: int, total: int) -> str:
    return hashlib.sha256(f"{schema}\n{rows}\n{total:064x}".encode()).hexdigest()
