"""Fates: what became of each row that entered, and the proof that none was lost.

A step gives every row it received exactly one fate. Counts alone would not notice one row lost and
another doubled, so the proof also compares an order-free checksum of the ids.
"""

from typing import Literal

import polars as pl

from curation.accounts import tally_rows

FATE_SCHEMA = pl.Schema(
    {
        "id": pl.String,
        "source": pl.String,
        "fate": pl.String,  # kept | dropped | merged | quarantined | not_sampled
        "reason": pl.String,  # the rule, or a word such as "leak"; "" for kept
        "value": pl.Float64,  # what was measured, null when the reason has no number
        "threshold": pl.Float64,
        "into": pl.String,  # keeper of a merged row, or the row a leak gives away; else ""
        "similarity": pl.Float64,  # Jaccard, 0..1, of a merged row with its keeper
    }
)

Fate = Literal["kept", "dropped", "merged", "quarantined", "not_sampled"]
FATES = ("kept", "dropped", "merged", "quarantined", "not_sampled")


class NotConserved(ValueError):
    """Rows were lost, doubled or invented between entering a step and leaving it."""


class TooManyDropped(ValueError):
    """One reason removes more of a source than the recipe allows."""


def make_fates(
    rows: pl.DataFrame,
    fate: Fate,
    *,
    reason: str | pl.Expr = "",
    value: float | None | pl.Expr = None,
    threshold: float | None | pl.Expr = None,
    into: str | pl.Expr = "",
    similarity: float | None | pl.Expr = None,
) -> pl.DataFrame:
    """One fate of `FATE_SCHEMA` for each row of a frame with `id` and `source`.

    The options are constants or expressions over the columns of `rows`.
    """
    columns = {
        "fate": fate,
        "reason": reason,
        "value": value,
        "threshold": threshold,
        "into": into,
        "similarity": similarity,
    }
    made = {k: v if isinstance(v, pl.Expr) else pl.lit(v) for k, v in columns.items()}
    return rows.select("id", "source", **made).cast(dict(FATE_SCHEMA))  # type: ignore[arg-type]


def kept(rows: pl.DataFrame) -> pl.DataFrame:
    """The fate `kept` for each row."""
    return make_fates(rows, "kept")


def keep_rows(rows: pl.DataFrame, fates: pl.DataFrame) -> pl.DataFrame:
    """The rows whose fate is `kept`, in their order."""
    return rows.join(
        fates.filter(pl.col("fate") == "kept"), on="id", how="semi", maintain_order="left"
    )


def chain_fates(*steps: pl.DataFrame) -> pl.DataFrame:
    """Final fates over several steps: a row's last fate, or the first one that removed it.

    Each step must hold the fates of the rows that the step before kept; sorted by id.
    """
    if not steps:
        return FATE_SCHEMA.to_frame()
    gone = [s.filter(pl.col("fate") != "kept") for s in steps[:-1]]
    return pl.concat([*gone, steps[-1]]).sort("id")


def count_fates(fates: pl.DataFrame) -> pl.DataFrame:
    """Rows by source, fate and reason: columns source, fate, reason, n; for people to read."""
    counted = fates.group_by("source", "fate", "reason").agg(n=pl.len().cast(pl.Int64))
    return counted.sort("source", "fate", "reason")


def prove_conservation(
    entered: pl.DataFrame, fates: pl.DataFrame, *, created: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Whether each source's rows all have a fate: one line per source.

    `entered` and `created` hold id and source, one line per row; ids are 32 hex digits. Columns:
    source, entered, created, kept, dropped, merged, quarantined, not_sampled (Int64), checksum_in
    and checksum_out (String: the sum of all ids as numbers, mod 2^128, in hex) and conserved.
    Raises `ValueError` for an id or a fate that is none.
    """
    _check_fates(fates)
    created = entered.clear() if created is None else created
    pair = ("id", "source")
    inputs = pl.concat([entered.select(pair), created.select(pair)])
    went_in = _checksums(inputs, "checksum_in")
    came_out = _checksums(fates.select(pair), "checksum_out")
    counts = [_count(entered, "entered"), _count(created, "created")]
    counts += [_count(fates.filter(pl.col("fate") == fate), fate) for fate in FATES]
    proof = pl.concat([went_in, came_out], how="diagonal").select("source").unique().sort("source")
    for part in [*counts, went_in, came_out]:
        proof = proof.join(part, on="source", how="left", maintain_order="left")
    proof = proof.with_columns(
        pl.col("entered", "created", *FATES).fill_null(0),
        pl.col("checksum_in", "checksum_out").fill_null("0" * 32),
    )
    same_count = pl.col("entered") + pl.col("created") == pl.sum_horizontal(FATES)
    return proof.with_columns(
        conserved=same_count & (pl.col("checksum_in") == pl.col("checksum_out"))
    )


def require_conservation(
    entered: pl.DataFrame, fates: pl.DataFrame, *, created: pl.DataFrame | None = None
) -> pl.DataFrame:
    """The proof of `prove_conservation`; raises `NotConserved` when a source does not add up."""
    proof = prove_conservation(entered, fates, created=created)
    broken = proof.filter(~pl.col("conserved"))
    if broken.is_empty():
        return proof
    line = broken.row(0, named=True)
    numbers = " + ".join(f"{line[fate]} {fate}" for fate in FATES)
    inputs = entered if created is None else pl.concat([entered.select("id"), created.select("id")])
    raise NotConserved(
        f"source {line['source']!r}: {line['entered']} entered + {line['created']} created, but "
        f"{numbers}; {_name_ids(inputs['id'], fates['id'])}"
    )


def require_share(
    counts: pl.DataFrame, *, max_share: float = 0.30, at_least: int = 20
) -> pl.DataFrame:
    """Share of each source that each reason removed: source, reason, n, of, share; largest first.

    `counts` is what `count_fates` gives. Counted are `dropped` and `quarantined`: merging loses
    nothing and sampling is a choice. Raises `TooManyDropped` when a share exceeds `max_share` in a
    source of `at_least` rows; in a smaller one a third is a handful of rows and says nothing about
    the rule.
    """
    removed = pl.col("fate").is_in(["dropped", "quarantined"])
    shares = (
        counts.with_columns(of=pl.col("n").sum().over("source"))
        .filter(removed)
        .group_by("source", "reason", "of")
        .agg(pl.col("n").sum())
        .with_columns(share=pl.col("n") / pl.col("of"))
        .select("source", "reason", "n", "of", "share")
        .sort("share", "source", "reason", descending=[True, False, False])
    )
    over = shares.filter((pl.col("share") > max_share) & (pl.col("of") >= at_least))
    if not over.is_empty():
        source, reason, n, of, share = over.row(0)
        raise TooManyDropped(
            f"{reason!r} removes {n:,} of {of:,} rows ({share:.0%}) of source {source!r}; at most "
            f"{max_share:.0%} is allowed: loosen the rule or look at the source"
        )
    return shares


def _check_fates(fates: pl.DataFrame) -> None:
    unknown = sorted(set(fates["fate"].unique().to_list()) - set(FATES), key=str)
    if unknown:
        raise ValueError(f"unknown fate {unknown[0]!r}; known: {', '.join(FATES)}")


def _count(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    return rows.group_by("source").agg(pl.len().cast(pl.Int64).alias(name))


def _checksums(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """The sum of the ids of each source mod 2^128 as 32 hex digits."""
    sums = [(source, ids) for source, (_, ids) in tally_rows(rows).items()]
    return pl.DataFrame(sums, schema={"source": pl.String, name: pl.String}, orient="row")


def _name_ids(before: pl.Series, after: pl.Series) -> str:
    """Which ids are missing, doubled or new, with one example of each."""
    ins, outs = set(before.to_list()), set(after.to_list())
    found = {
        "without a fate": ins - outs,
        "with a fate but never entered": outs - ins,
        "with several fates": set(after.filter(after.is_duplicated()).to_list()),
        "entered twice": set(before.filter(before.is_duplicated()).to_list()),
    }
    said = [f"{len(ids)} {what} (such as {min(ids)})" for what, ids in found.items() if ids]
    return ", ".join(said) or "the ids are the same but under another source"
