"""Mix: the training set, at an exact ratio of general to domain rows."""

import inspect
from collections.abc import Mapping
from typing import Any

import polars as pl

from assets.accounting import Settled, replacing, resettle, settle
from assets.code import code_version
from assets.curate import model_path
from assets.delta import map_rows
from assets.stage import Job, stage
from curation.accounts import tally_rows
from curation.fates import chain_fates, keep_rows, kept, make_fates
from curation.frames import Bare
from curation.mix import STRATA, mix_tracks
from curation.rows import ROW_SCHEMA, digest
from curation.runs import SLICE
from curation.store import Change, Made, Version
from training.tokens import tokenise_rows

TOKEN_COLUMNS = ("id", "n_tokens", "n_loss_tokens", "reason")


@stage("5_train", section=("mix", "train"), checks=("conservation", "masks", "mix_ratio"))
def training_set(job: Job, kept_rows: Version, base_model: Version) -> Made:
    """What the model is trained on: rows that fit its template, general to domain at the ratio."""
    rows = kept_rows.table("rows", ["id", "source", "track", *STRATA])
    counted, since, memo = _count_tokens(job, kept_rows, base_model)
    tokens = _all_tokens(counted, since)
    unfit = tokens.filter(pl.col("reason") != "")
    mixed = mix_tracks(rows.join(unfit, on="id", how="anti"), **job.recipe.options["mix"])

    def judge(some: pl.DataFrame) -> pl.DataFrame:
        fits = _token_fates(some, unfit)
        return chain_fates(fits, mixed.judge(keep_rows(some, fits)))

    if isinstance(counted, Change) and since and since is job.same_code:
        ids = _other_fates(since, counted, mixed.rows)
        some = rows.filter(pl.col("id").is_in(ids))
        before = since.input("kept_rows").lookup("rows", ids, ["source"])
        fates = replacing(ids, judge(some))
        books = _settle(before, since.lookup("fates", ids)), _settle(some, fates.upserts)
        settled = resettle(since, *books)
    else:
        fates = pl.concat(judge(some) for some in rows.iter_slices(SLICE))
        settled = _settle(rows, fates)
    chosen = mixed.rows.select("id", "repeats")
    plain = kept_rows.lookup("rows", chosen["id"], texts=False)
    trained = plain.join(chosen, on="id", maintain_order="left")
    report = _by_track(mixed.rows.join(tokens, on="id"))
    settled["values"]["mix"] = report
    bad_masks = tokens.filter((pl.col("reason") == "") & (pl.col("n_loss_tokens") == 0)).height
    settled["checks"]["masks"] = (bad_masks == 0, f"{bad_masks} rows would train nothing")
    settled["checks"]["mix_ratio"] = _ratio_check(
        report, _wanted_ratio(job.recipe.options["mix"]), mixed.note
    )
    schema = pl.Schema({**ROW_SCHEMA, "repeats": pl.Int64})
    tables = {"rows": Bare(trained, schema), "tokens": counted, "fates": fates}
    return Made(tables, since=since, memos=[memo], **settled)


def _count_tokens(
    job: Job, kept_rows: Version, base_model: Version
) -> tuple[pl.DataFrame | Change, Version | None, str]:
    """Tokens of every row, each row tokenised once ever, as `map_rows` gives them; and its memo."""
    train = job.recipe.options["train"]
    limits = {name: train[name] for name in ("max_tokens", "revision") if name in train}
    model = model_path(base_model)

    def count(rows: pl.DataFrame) -> pl.DataFrame:
        return tokenise_rows(rows, model, **limits).select(TOKEN_COLUMNS)

    memo = "tokens-" + digest([base_model.data_version, limits, code_version(tokenise_rows)])
    return *map_rows(job, kept_rows, count, memo=memo, kind="tokens"), memo


def _all_tokens(counted: pl.DataFrame | Change, since: Version | None) -> pl.DataFrame:
    """Tokens of every row, in no order."""
    if not isinstance(counted, Change):
        return counted
    assert since is not None, "a change is told from a version"
    told = pl.concat([counted.gone["id"], counted.upserts["id"]])
    before = since.table("tokens").filter(~pl.col("id").is_in(told.implode()))
    return pl.concat([before, counted.upserts])


def _other_fates(since: Version, counted: Change, chosen: pl.DataFrame) -> list[str]:
    """Rows whose fate may be another one than it was: changed ones, and those in or out of the mix.

    All else was in the mix before and is, or was not and is not.
    """
    before = since.table("rows", ["id"])
    sides = before.join(chosen, on="id", how="anti"), chosen.join(before, on="id", how="anti")
    parts = (counted.upserts, counted.gone, *sides)
    return pl.concat([part["id"] for part in parts]).unique().sort().to_list()


def _settle(entered: pl.DataFrame, fates: pl.DataFrame) -> Settled:
    return settle({"kept_rows/kept": tally_rows(entered)}, fates)


def _token_fates(rows: pl.DataFrame, unfit: pl.DataFrame) -> pl.DataFrame:
    """`kept`, or `dropped` for the reason the tokeniser gave."""
    broken = rows.select("id", "source").join(unfit, on="id")
    length = pl.col("n_tokens").cast(pl.Float64)
    dropped = make_fates(broken, "dropped", reason=pl.col("reason"), value=length)
    return pl.concat([kept(rows.join(unfit, on="id", how="anti")), dropped])


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
