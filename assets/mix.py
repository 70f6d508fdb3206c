"""Mix: the training set, at an exact ratio of general to domain rows."""

import inspect
from collections.abc import Mapping
from typing import Any

import polars as pl

from assets.accounting import settle
from assets.code import code_version
from assets.curate import model_path
from assets.delta import map_rows
from assets.stage import Job, stage
from curation.accounts import tally_rows
from curation.fates import chain_fates, keep_rows, make_fates
from curation.frames import Bare
from curation.mix import STRATA, mix_tracks
from curation.rows import ROW_SCHEMA, digest
from curation.store import Change, Made, Version
from training.tokens import tokenise_rows

TOKEN_COLUMNS = ("id", "n_tokens", "n_loss_tokens", "reason")


@stage("5_train", section=("mix", "train"), checks=("conservation", "masks", "mix_ratio"))
def training_set(job: Job, kept_rows: Version, base_model: Version) -> Made:
    """What the model is trained on: rows that fit its template, general to domain at the ratio."""
    rows = kept_rows.table("rows", ["id", "source", "track", *STRATA])
    tokens, memo = _count_tokens(job, kept_rows, base_model)
    fits = _token_fates(rows, tokens)
    mixed = mix_tracks(keep_rows(rows, fits), **job.recipe.options["mix"])
    fates = chain_fates(fits, mixed.fates)
    chosen = mixed.rows.select("id", "repeats")
    plain = kept_rows.lookup("rows", chosen["id"], texts=False)
    trained = plain.join(chosen, on="id", maintain_order="left")
    counted = mixed.rows.join(tokens.select("id", "n_tokens", "n_loss_tokens"), on="id")
    report = _by_track(counted)
    settled = settle({"kept_rows/kept": tally_rows(rows)}, fates)
    settled["values"]["mix"] = report
    bad_masks = tokens.filter((pl.col("reason") == "") & (pl.col("n_loss_tokens") == 0)).height
    settled["checks"]["masks"] = (bad_masks == 0, f"{bad_masks} rows would train nothing")
    settled["checks"]["mix_ratio"] = _ratio_check(
        report, _wanted_ratio(job.recipe.options["mix"]), mixed.note
    )
    schema = pl.Schema({**ROW_SCHEMA, "repeats": pl.Int64})
    tables = {"rows": Bare(trained, schema), "tokens": tokens, "fates": fates}
    return Made(tables, memos=[memo], **settled)


def _count_tokens(job: Job, kept_rows: Version, base_model: Version) -> tuple[pl.DataFrame, str]:
    """Tokens of every row, each row tokenised once ever, and under which name that is known."""
    train = job.recipe.options["train"]
    limits = {name: train[name] for name in ("max_tokens", "revision") if name in train}
    model = model_path(base_model)

    def count(rows: pl.DataFrame) -> pl.DataFrame:
        return tokenise_rows(rows, model, **limits).select(TOKEN_COLUMNS)

    memo = "tokens-" + digest([base_model.data_version, limits, code_version(tokenise_rows)])
    counted, since = map_rows(job, kept_rows, count, memo=memo, kind="tokens")
    if isinstance(counted, Change):
        assert since is not None, "a change is told from a version"
        drop = pl.concat([counted.gone, counted.upserts.select("id")])
        before = since.table("tokens").join(drop, on="id", how="anti")
        counted = pl.concat([before, counted.upserts]).sort("id")
    return counted, memo


def _token_fates(rows: pl.DataFrame, tokens: pl.DataFrame) -> pl.DataFrame:
    """`kept`, or `dropped` for the reason the tokeniser gave."""
    joined = rows.select("id", "source").join(tokens.select("id", "reason", "n_tokens"), on="id")
    fit = joined.filter(pl.col("reason") == "")
    unfit = joined.filter(pl.col("reason") != "")
    length = pl.col("n_tokens").cast(pl.Float64)
    dropped = make_fates(unfit, "dropped", reason=pl.col("reason"), value=length)
    return pl.concat([make_fates(fit, "kept"), dropped])


def _by_track(rows: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Rows, tokens and loss tokens of each track, repeats counted as often as they are trained."""
    times = pl.col("repeats")
    sums = rows.group_by("track").agg(
        rows=times.sum(),
        tokens=(pl.col("n_tokens") * times).sum(),
        loss_tokens=(pl.col("n_loss_tokens") * times).sum(),
    )
    return {line.pop("track"): line for line in sums.sort("track").iter_rows(named=True)}


def _ratio_check(
    report: dict[str, dict[str, int]], wanted: Mapping[str, int], note: str
) -> tuple[bool, str]:
    """Whether the rows stand at exactly the wanted ratio, and by how much they do not."""
    parts = [
        f"{track} {line['rows']:,} rows, {line['tokens']:,} tokens, {line['loss_tokens']:,} trained"
        for track, line in report.items()
    ]
    general, domain = (report.get(track, {}).get("rows", 0) for track in ("general", "domain"))
    exact = domain > 0 and general * wanted["domain"] == domain * wanted["general"]
    said = [f"general:domain {general / max(domain, 1):.3f}:1 by rows", *parts, note]
    return exact, "; ".join(part for part in said if part)


def _wanted_ratio(options: Mapping[str, Any]) -> dict[str, int]:
    """General and domain as the recipe says; what it leaves out stands in the signature."""
    bound = inspect.signature(mix_tracks).bind(None, **options)
    bound.apply_defaults()
    return {track: bound.arguments[track] for track in ("general", "domain")}
