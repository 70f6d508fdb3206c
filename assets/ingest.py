"""Ingest: every delivered record becomes a row, a repeat or a quarantined record with a reason.

Where a source can be read in blocks, a delivery costs the blocks that are new, not the whole file.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from assets.accounting import replacing
from assets.delta import changed_ids
from assets.recipe import Plug, Recipe
from assets.recipe_texts import row_sources
from assets.stage import Job, Stage
from curation.accounts import Account, Tally, count_records, count_rows, tally_rows
from curation.formats import SystemOf
from curation.frames import Bare, compare
from curation.ingest import Ingested, mark_known, merge_sources, read_source
from curation.personal_key import key_mark, personal_key
from curation.rows import PLAIN, ROW_SCHEMA
from curation.runs import Run
from curation.sources._base import Block, source_blocks
from curation.store import Change, Made, Version
from curation.table_texts import put_text_run
from curation.tasks._base import Task

GROUP = "1_ingest"


def source_stages(recipe: Recipe) -> list[Stage]:
    """One stage for each source of the recipe."""
    return [_source_stage(recipe, name, plug) for name, plug in recipe.sources.items()]


def _source_stage(recipe: Recipe, name: str, plug: Plug) -> Stage:
    domain = plug.common.get("track", "domain") == "domain"
    task = recipe.task if domain else None
    parted = task is not None and bool(task.parts)
    system = _system_of_part(task) if task and parted else task.system if task else None
    common = {"revision": str(plug.options.get("revision", "")), **plug.common}
    keyed = common.get("personal", "keep") != "keep"

    def source(job: Job) -> Made:
        reader = plug.make()
        key = personal_key(job.store) if keyed else b""
        mark = key_mark(key) if keyed else ""
        blocks = [] if "max_rows" in common else source_blocks(reader)
        since, known = _read_before(job, blocks, mark)
        records = (r for block in blocks[known:] for r in block.read()) if blocks else reader()
        texts: list[Run] = []

        def put_texts(rows: pl.DataFrame) -> None:
            held = since.lookup("rows", rows["id"], texts=False) if since else rows.clear()
            fresh = rows.join(held, on="id", how="anti")
            texts.extend([put_text_run(job.store, fresh)] if fresh.height else [])

        read = read_source(
            records,
            source=name,
            system=system,
            key=key,
            put_texts=put_texts,
            report=job.report,
            **common,
        )
        listed = [block.to_list() for block in blocks]
        made = _append(read, since, known, listed) if since else _whole(read, name, listed, keyed)
        values = {**made.values, **({"personal_key": mark} if keyed else {})}
        return replace(made, values=values, texts=texts)

    def reads(job: Job) -> Any:
        files = plug.files_digest()
        return [files, key_mark(personal_key(job.store))] if keyed else files

    source.__doc__ = (
        f"Records of source `{name}` ({plug.use}) as rows, each delivered record accounted for."
    )
    return Stage(
        name=f"sources/{name}",
        group=GROUP,
        work=source,
        section=[plug.section, recipe.task_plug.section if parted else system],
        code=(plug.module, "curation.ingest", "curation.formats"),
        reads=reads,
        files=plug.files_state,
        checks=("conservation",),
        kinds=(plug.use,) if plug.use in ("csv", "parquet", "json") else (),
    )


def _system_of_part(task: Task) -> SystemOf:
    return lambda prompt, answer: task.part(prompt, answer)[1].system


def _read_before(job: Job, blocks: Sequence[Block], mark: str) -> tuple[Version | None, int]:
    """The version to add to, and how many leading blocks it holds; none and 0 to read all anew.

    Only what comes after every known block can be added: a record in between could come before one
    that it makes a duplicate.
    """
    since = job.same_code
    if since is None or since.values.get("personal_key", "") != mark:  # another's pseudonyms
        return None, 0
    before = [line[0] for line in since.values["blocks"]]
    pairs = zip(before, (block.name for block in blocks), strict=False)
    known = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(before), len(blocks)))
    return (since, known) if known else (None, 0)


def _whole(read: Ingested, name: str, blocks: list[Any], keyed: bool) -> Made:
    """All records of a source, read just now; what was personal where it was looked for."""
    account, counts = _account(read, name), _count(read.occurrences)
    tables: dict[str, Any] = {"rows": Bare(read.rows, ROW_SCHEMA), "occurrences": read.occurrences}
    tables |= {"personal": read.personal} if keyed else {}
    return _made(tables, account, counts, _kinds(read.personal), blocks)


def _append(read: Ingested, since: Version, known: int, blocks: list[Any]) -> Made:
    """What an earlier version held of the known blocks, and the records read after them."""
    name = since.name.rpartition("/")[2]
    gone = _told_in(since, "occurrences", since.values["blocks"][known:])
    new = gone.filter(pl.col("outcome") == "new")["id"]
    replaced = since.lookup("rows", new, texts=False)
    earlier = since.lookup("rows", read.rows["id"], texts=False)
    earlier = earlier.join(replaced, on="id", how="anti")
    fresh = mark_known(read.occurrences, earlier)
    rows = compare(replaced, read.rows.join(earlier, on="id", how="anti"), key=["id"])
    occurrences = compare(gone, fresh, key=gone.columns)
    out = replaced.join(pl.concat([rows.upserts.select("id"), rows.gone]), on="id", how="semi")
    before = Account.read(since)
    assert before is not None, "a source keeps an account"
    account = before.corrected(
        _account(Ingested(out, occurrences.gone), name),
        _account(Ingested(rows.upserts, occurrences.upserts), name),
    )
    counts = Counter(since.values["fates"])
    counts.subtract(_count(occurrences.gone))
    counts.update(_count(occurrences.upserts))
    tables: dict[str, Any] = {"rows": rows, "occurrences": occurrences}
    kinds = Counter(since.values.get("personal", {}))
    if "personal" in since.tables:
        was = _told_in(since, "personal", since.values["blocks"][known:])
        tables["personal"] = compare(was, read.personal, key=was.columns)
        kinds.subtract(_kinds(was))
        kinds.update(_kinds(read.personal))
    return _made(tables, account, counts, kinds, blocks, since)


def _told_in(since: Version, table: str, blocks: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """What a table says by position of the records that stood in these blocks."""
    if not blocks:
        return since.lookup(table, ())
    at = [f"{file}:{n}" for _, file, first, last in blocks for n in range(first, last + 1)]
    at += [file for _, file, _, _ in blocks]  # a file refused as a whole
    return since.table(table).filter(pl.col("position").is_in(at))


def _account(read: Ingested, name: str) -> Account:
    counts = read.counts
    left: dict[str, Tally] = {"new": tally_rows(read.rows)}
    left |= {k: count_records(name, counts[k]) for k in ("duplicate", "quarantined")}
    return Account({"delivered": count_records(name, counts["delivered"])}, left)


def _count(occurrences: pl.DataFrame) -> dict[str, int]:
    """Records by outcome, and quarantined ones by the reason they begin with."""
    outcome = pl.when(pl.col("outcome") == "quarantined").then(
        pl.concat_str(pl.lit("quarantined: "), pl.col("reason").str.split(":").list.first())
    )
    named = occurrences.select(fate=outcome.otherwise(pl.col("outcome")))
    return dict(named.group_by("fate").len().sort("fate").iter_rows())


def _kinds(personal: pl.DataFrame) -> dict[str, int]:
    """How often each kind of personal data was found."""
    return dict(personal.group_by("kind").len().iter_rows())


def _made(
    tables: Mapping[str, pl.DataFrame | Bare | Change],
    account: Account,
    counts: Mapping[str, int],
    kinds: Mapping[str, int],
    blocks: list[Any],
    since: Version | None = None,
) -> Made:
    """Tables, counts and the proof that each record has one outcome and each row a record."""
    wrong = account.problems()
    fates = {fate: n for fate, n in sorted(counts.items()) if n}
    found = {kind: n for kind, n in sorted(kinds.items()) if n}
    values = {"fates": fates, "account": account.to_dict(), "blocks": blocks}
    return Made(
        tables=tables,
        values=values | ({"personal": found} if "personal" in tables else {}),
        checks={"conservation": (not wrong, "; ".join(wrong) or account.line())},
        since=since,
    )


def rows_stage(recipe: Recipe) -> Stage:
    """The stage that merges all sources of rows into one table."""

    def rows(job: Job, *sources: Version) -> Made:
        """All imported rows, one per content id, whatever sources delivered the same text."""
        since = job.same_code
        if since is None:
            return _merged([source.table("rows", PLAIN) for source in sources])
        ids = changed_ids(since, ((source, "rows") for source in sources))
        now = _merged([source.lookup("rows", ids, texts=False) for source in sources])
        before = [since.input(source.name.partition("/")[2]) for source in sources]
        was = _merged([source.lookup("rows", ids, texts=False) for source in before])
        return _remerged(since, ids, was, now)

    section = row_sources(recipe.sources)  # another list of sources is another graph
    names = tuple(f"sources/{name}" for name in section)
    return Stage("rows", GROUP, rows, names, section, checks=("conservation",))


def _merged(sources: Sequence[pl.DataFrame]) -> Made:
    """The rows of these frames, one for each source, merged; without their texts."""
    rows, shared = merge_sources(sources)
    entered = {
        f"sources/{given['source'][0]}/new": tally_rows(given) for given in sources if len(given)
    }
    by_split = rows.select("id", "source", "split").partition_by("split", as_dict=True)
    left = {str(split): tally_rows(part) for (split,), part in sorted(by_split.items())}
    account = Account(entered, left | {"merged": tally_rows(shared)})
    return _rows_made({"rows": Bare(rows, ROW_SCHEMA), "shared": shared}, account)


def _remerged(since: Version, ids: Sequence[str], was: Made, now: Made) -> Made:
    """The version since, with the rows of these ids as they are now in place of as they were."""
    accounts = [Account(**made.values["account"]) for made in (was, now)]
    before = Account.read(since)
    assert before is not None, "rows keep an account"
    rows, shared = now.tables["rows"], now.tables["shared"]
    assert isinstance(rows, Bare) and isinstance(shared, pl.DataFrame)
    old = since.table("shared")
    kept = old.filter(~pl.col("id").is_in(list(ids)))
    tables = {"rows": replacing(ids, rows.frame), "shared": pl.concat([kept, shared])}
    return _rows_made(tables, before.corrected(*accounts), since)


def _rows_made(
    tables: Mapping[str, pl.DataFrame | Bare | Change],
    account: Account,
    since: Version | None = None,
) -> Made:
    wrong = account.problems()
    splits = {s: count_rows(account.left.get(s, {})) for s in ("train", "heldout", "test")}
    merged = count_rows(account.left.get("merged", {}))
    return Made(
        tables=tables,
        values={
            "fates": {"new": sum(splits.values()), **({"duplicate": merged} if merged else {})},
            "splits": {split: n for split, n in splits.items() if n},
            "account": account.to_dict(),
        },
        checks={"conservation": (not wrong, "; ".join(wrong) or account.line())},
        since=since,
    )
