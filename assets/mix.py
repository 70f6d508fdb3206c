"""Mix: the training set, at an exact ratio of general to domain rows."""

import inspect
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import polars as pl

from assets.accounting import Settled, replacing, resettle, settle
from assets.code import code_version
from assets.delta import changed_ids, map_some
from assets.facts import model_path
from assets.recipe import Recipe, topic_scorer
from assets.stage import Job, Stage, stage
from assets.unique import templates_of
from curation.accounts import tally_rows
from curation.chat import load_tokenizer
from curation.frames import Bare
from curation.leakage import count_kinds, find_leakage
from curation.line import STRATA, TOPIC
from curation.mix import count_topics, mix_tracks
from curation.rows import ROW_SCHEMA, digest
from curation.runs import SLICE
from curation.store import Made, Version
from training.tokens import tokenise_rows

TOKEN_COLUMNS = ("id", "n_tokens", "n_loss_tokens", "reason")


def training_set(recipe: Recipe) -> Stage:
    """The stage of the mix, which reads the topics of rows where the recipe spreads them."""
    made = _training_set(recipe)
    topics = [f"facts/{topic_scorer(recipe)}"] if recipe.options["mix"].get("spread") else []
    return replace(made, name="training_set", inputs=(*made.inputs[:-1], *topics))


@stage(
    "5_train",
    section=("mix", "train", "task"),
    checks=("conservation", "leakage", "masks", "mix_ratio"),
    guards=("conservation", "leakage"),
)
def _training_set(
    job: Job,
    kept_rows: Version,
    base_model: Version,
    split_rows: Version,
    augmented_rows: Version,
    bad_cases: Version,
    *placed: Version,
) -> Made:
    """What the model is trained on: rows that fit its template, general to domain at the ratio."""
    counter = _TokenCounter(job, kept_rows, base_model)
    rows = _read_pool(kept_rows, placed)
    mixed = mix_tracks(rows, counter.fit, **job.recipe.options["mix"])
    tokens = counter.tokens([mixed.rows["id"], mixed.unfit["id"]])
    since = job.same_code
    if since:
        ids = _other_fates(since, kept_rows, tokens)
        some = rows.filter(pl.col("id").is_in(ids))
        before = since.input("kept_rows").lookup("rows", ids, ["source"])
        fates = replacing(ids, mixed.judge(some))
        books = _settle(before, since.lookup("fates", ids)), _settle(some, fates.upserts)
        settled = resettle(since, *books)
    else:
        fates = pl.concat(mixed.judge(some) for some in rows.sort("id").iter_slices(SLICE))
        settled = _settle(rows, fates)
    chosen = mixed.rows.select("id", "repeats")
    plain = kept_rows.lookup("rows", chosen["id"], texts=False)
    trained = plain.join(chosen, on="id", maintain_order="left")
    report = _by_track(mixed.rows.join(tokens, on="id"))
    topics = {"pool": count_topics(rows), "drawn": count_topics(mixed.rows)} if placed else {}
    settled["values"] |= {"mix": report, "topics": topics}
    fitting = tokens.filter(pl.col("reason") == "")
    longest = 0 if counter.unit == "rows" else max(fitting[f"n_{counter.unit}"], default=0)
    exact, said = _ratio_check(report, _asked(job.recipe.options["mix"]), mixed.note, longest)
    bad_masks = fitting.filter(pl.col("n_loss_tokens") == 0).height
    settled["checks"] |= {
        "leakage": _leakage_check(job, kept_rows, trained, split_rows, augmented_rows, bad_cases),
        "masks": (bad_masks == 0, f"{bad_masks} rows would train nothing"),
        "mix_ratio": (exact and not mixed.low, said + _say_topics(topics)),
    }
    schema = pl.Schema({**ROW_SCHEMA, "repeats": pl.Int64})
    tables = {"rows": Bare(trained, schema), "tokens": tokens, "fates": fates}
    return Made(tables, since=since, memos=[counter.memo], **settled)


def _read_pool(kept_rows: Version, placed: Sequence[Version]) -> pl.DataFrame:
    """What the mix reads of the rows; their topics, too, where a scorer that placed them is given.

    A row that it did not place has none.
    """
    rows = kept_rows.scan("rows").select("id", "source", "track", *STRATA).collect()
    for facts in placed:
        topics = facts.scan("places").select("id", pl.col(TOPIC).cast(pl.Int32)).collect()
        rows = rows.join(topics, on="id", how="left")
    return rows


def _say_topics(topics: Mapping[str, Any]) -> str:
    """How many topics were drawn from, and how evenly; "" where they are not spread."""
    if not topics:
        return ""
    pool, drawn = topics["pool"], topics["drawn"]
    return (
        f"; {drawn['topics']:,} of {pool['topics']:,} topics, as even as {drawn['effective']:,} "
        f"of one size (the pool: {pool['effective']:,})"
    )


def _leakage_check(
    job: Job,
    kept_rows: Version,
    trained: pl.DataFrame,
    split_rows: Version,
    augmented_rows: Version,
    bad_cases: Version,
) -> tuple[bool, str]:
    """Whether no row to be trained on gives the exam away, and how many do in which way.

    While nothing it could give away is another, only rows that were not trained on are looked at:
    a version in which a row leaks does not come about.
    """
    since = job.same_code
    of_exam = [(split_rows, table) for table in ("exam", "withdrawn")]
    asked = [*of_exam, (augmented_rows, "edges"), (bad_cases, "rows")]
    if since and all(_is_same(since, version, table) for version, table in asked):
        known = since.lookup("rows", trained["id"], ["id", "track"])
        some = trained.join(known, on=["id", "track"], how="anti", maintain_order="left")
    else:
        some = trained
    texts = kept_rows.lookup("rows", some["id"])
    exam = split_rows.table("exam").filter("guarded")
    held = bad_cases.table("rows", ["id", "half"]).filter(pl.col("half") == "hold")["id"]
    edges = augmented_rows.table("edges", ["child", "parent"])
    withdrawn = split_rows.table("withdrawn")["prompt"]
    options = {"task": job.recipe.task, "templates": templates_of(job)}
    found = find_leakage(texts, exam, edges, held, withdrawn, **options)
    counts = ", ".join(f"{n:,} {kind}" for kind, n in count_kinds(found).items())
    said = f"{counts} of {trained.height:,} rows give away one of {exam.height:,} of the exam"
    if found.is_empty():
        return True, said
    row, of, _ = found.row(0)
    return False, f"{said}, such as {row} of {of}; a lower threshold of split drops what is near"


def _is_same(since: Version, version: Version, table: str) -> bool:
    """Whether a table of an upstream version is what `since` was made from."""
    name = version.name.partition("/")[2]
    if name not in since.manifest["inputs"]:
        return False
    return since.input(name).tables[table]["digest"] == version.tables[table]["digest"]


class _TokenCounter:
    """Tokens of the rows whose turn comes in the mix, each row tokenised once ever.

    The tokenizer is loaded while the rows are read and lined up, which takes about as long.
    """

    def __init__(self, job: Job, kept_rows: Version, base_model: Version):
        train = job.recipe.options["train"]
        self.limits = {name: train[name] for name in ("max_tokens",) if name in train}
        self.job, self.rows, revision = job, kept_rows, train.get("revision", "")
        pool = ThreadPoolExecutor(1)
        self.tokenizer = pool.submit(load_tokenizer, model_path(base_model), revision=revision)
        pool.shutdown(wait=False)
        code = [code_version(load_tokenizer), code_version(tokenise_rows)]
        made_by = [base_model.data_version, revision, self.limits, code]
        self.memo = "tokens-" + digest(made_by)
        self.unit = _asked(job.recipe.options["mix"])["unit"]
        self.counted: list[pl.DataFrame] = []

    def fit(self, ids: pl.Series) -> pl.DataFrame:
        """As `curation.mix.Fit`: the reason of the tokeniser and the length in tokens."""
        wanted = ids.to_frame("id")
        counted = map_some(self.job, self.rows, self._count, wanted, memo=self.memo, kind="tokens")
        self.counted.append(counted)
        in_line = wanted.join(counted, on="id", maintain_order="left")
        size = pl.lit(1) if self.unit == "rows" else pl.col(f"n_{self.unit}")
        return in_line.select(
            "id", "reason", value=pl.col("n_tokens").cast(pl.Float64), size=size.cast(pl.Int64)
        )

    def tokens(self, ids: Sequence[pl.Series]) -> pl.DataFrame:
        """What was counted of these rows, sorted by id."""
        wanted = pl.concat(ids).implode()
        return pl.concat(self.counted).filter(pl.col("id").is_in(wanted)).sort("id")

    def _count(self, rows: pl.DataFrame) -> pl.DataFrame:
        counted = tokenise_rows(rows, self.tokenizer.result(), **self.limits)
        return counted.select(TOKEN_COLUMNS)


def _other_fates(since: Version, kept_rows: Version, tokens: pl.DataFrame) -> list[str]:
    """Rows whose fate may be another one than it was.

    They are rows that changed and those whose tokens are counted otherwise now, or now or then
    alone: tokens are counted of all whose turn came. All else had no turn and has none.
    """
    sides, counted = set[str](), since.table("tokens")
    for here, there in ((tokens, counted), (counted, tokens)):
        sides.update(here.join(there, on=TOKEN_COLUMNS, how="anti")["id"])
    return sorted(sides.union(changed_ids(since, [(kept_rows, "rows")])))


def _settle(entered: pl.DataFrame, fates: pl.DataFrame) -> Settled:
    return settle({"kept_rows/kept": tally_rows(entered)}, fates)


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
    report: dict[str, dict[str, int]], asked: Mapping[str, Any], note: str, longest: int = 0
) -> tuple[bool, str]:
    """Whether they stand at exactly the wanted ratio in its unit, and by how much they do not.

    Tokens do when half of the `longest` row is all that is too much or too little.
    """
    parts = [
        f"{track} {line['rows']:,} rows, {line['tokens']:,} tokens, {line['loss_tokens']:,} trained"
        for track, line in report.items()
    ]
    unit = asked["unit"]
    general, domain = (report.get(track, {}).get(unit, 0) for track in ("general", "domain"))
    off = abs(general - domain * asked["general"] / asked["domain"])
    exact = domain > 0 and 2 * off <= longest
    ratio = f"general:domain {general / max(domain, 1):.3f}:1 by {unit.replace('_', ' ')}"
    said = [ratio, *parts, note]
    return exact, "; ".join(part for part in said if part)


def _asked(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe asks of the mix; what it leaves out stands in the signature."""
    bound = inspect.signature(mix_tracks).bind(None, **options)
    bound.apply_defaults()
    return dict(bound.arguments)
