"""What must hold after the dust has settled, each as (what, whether it does, numbers)."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import dagster as dg
import polars as pl

from curation.bad_cases import read_inbox
from curation.rows import digest
from curation.store import Store, Version
from tests.faults._deliveries import REFUSED, Case, Deliveries
from tests.faults._project import Site, wait_for

Finding = tuple[str, bool, str]
FIELDS = ("prompt", "gold", "predicted")


def verify(site: Site, deliveries: Deliveries, *, fresh: bool) -> Iterator[Finding]:
    """Every promise in turn; `fresh` builds the data again in another store and compares."""
    cases = deliveries.acknowledged
    yield (
        "deliveries that were not killed were acknowledged",
        not deliveries.broken,
        (
            f"{deliveries.commands} commands, {deliveries.killed} killed, {len(cases)} cases "
            + "; ".join(deliveries.broken[:3])
        ),
    )
    yield check_runs(site)
    yield check_trainers(site, newest_model(site.store))
    yield check_inbox(site.store, cases)
    yield check_learned(newest_model(site.store), cases)
    yield check_store(site.store)
    yield check_rebuild(site, until_idle=fresh)
    if fresh:
        yield check_fresh(site)


def newest_model(store: Store) -> Version:
    """The head of the model versions; raises `LookupError` when none was ever made."""
    if model := store.head("tiny/model_version"):
        return model
    raise LookupError("no model version was made")


def check_runs(site: Site) -> Finding:
    """Every run is at an end."""
    with site.history() as instance:
        statuses = Counter(run.status for run in instance.get_runs())
    ends = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
    text = ", ".join(f"{n} {status.value}" for status, n in statuses.items())
    return "every run is at an end", all(status in ends for status in statuses), text


def check_trainers(site: Site, model: Version) -> Finding:
    """No two trainers ever lived together, by the lock each held, and none lives now.

    The one that made the newest adapter must stand in the journal, or nobody watched them.
    """
    journal = site.journal
    together = [line for line in journal if not line["alone"]]
    watched = _work_of(site, model.input("adapter")) in {Path(line["of"]).name for line in journal}
    with suppress(TimeoutError):  # the worker of the last run needs a moment to go
        wait_for("no worker is left", lambda: not _workers(site), limit_s=15)
    left = _workers(site)
    text = f"{len(journal)} trainers, {len(together)} beside another, left behind: {left}"
    text += "" if watched else "; the one behind the newest adapter is not among them"
    return "one trainer at a time and none left", watched and not together and not left, text


def _work_of(site: Site, adapter: Version) -> str:
    """The name of the work folder that the trainer of an adapter was given."""
    made_from = [adapter.input(name).data_version for name in ("training_set", "base_model")]
    return f"train-{digest([*made_from, site.recipe.sections('train')])}"


def _workers(site: Site) -> list[int]:
    return [p.pid for kind in ("worker", "trainer", "watcher") for p in site.find(kind)]


def check_inbox(store: Store, cases: list[Case]) -> Finding:
    """Every acknowledged case is in the inbox once."""
    held = Counter(tuple(case[name] for name in FIELDS) for case in read_inbox(store))
    wrong = [case[0] for case in cases if held[case] != 1]
    text = f"{len(cases)} acknowledged, {held.total()} held, wrong: {wrong[:3]}"
    return "every acknowledged case is in the inbox once", not wrong, text


def check_learned(model: Version, cases: list[Case]) -> Finding:
    """Each acknowledged case of the learn half is trained on once, unless it was made not to be.

    One that repeats another is merged into it, one that gives an exam row away is a leak, and one
    whose right answer names what nobody said is refused (`draw_cases`). Each case of the other half
    stands in the held-out exam, was answered there by the model, and is not trained on.
    """
    known = model.input("bad_cases").table("rows")
    ours = known.join(pl.DataFrame(cases, schema=FIELDS, orient="row"), on=FIELDS)
    fates, asked = _Fates(model), _asked(model)
    ends = Counter[str]()
    wrong = [f"{len(cases) - ours.height} not in the snapshot"] if ours.height != len(cases) else []
    for case in ours.iter_rows(named=True):
        end = fates.end_of(case["id"], case["row_id"])
        if case["half"] == "hold" and end != "trained on":
            end = "held back" if case["row_id"] in asked else "held back but never asked"
        ends[end] += 1
        if not _is_right(case, end, fates):
            wrong.append(f"{case['prompt']} ({case['half']}): {end}")
    if not ends["trained on"]:
        wrong.append("none was trained on")
    if repeated := fates.repeated(ours["row_id"]):
        wrong.append(f"more than once in the training set: {repeated[:3]}")
    text = ", ".join(f"{n} {end}" for end, n in sorted(ends.items()))
    return "every case is learned once or has a fate", not wrong, f"{text}; wrong: {wrong[:5]}"


def _is_right(case: dict[str, Any], end: str, fates: "_Fates") -> bool:
    """Whether this may become of a case of its half and kind."""
    if case["half"] == "hold":
        return end not in ("trained on", "held back but never asked")
    if end.startswith("refused: ungrounded"):
        return case["predicted"] == REFUSED
    if end == "dropped: leak":
        return fates.into[case["row_id"]] in fates.exam
    return end in ("trained on", "merged: exact", "merged: near")


def _asked(model: Version) -> set[str]:
    """Rows of the exam's guarded part that the version's own model was asked."""
    evaluation = model.input("evaluation")
    exam = evaluation.input("split_rows").table("exam").filter("guarded")
    answers = evaluation.table("rows").filter(pl.col("arm") == "candidate")
    return set(exam["id"]) & set(answers["id"])


class _Fates:
    """Where a corrected row went, by the tables that one model version was made from."""

    def __init__(self, model: Version):
        training = model.input("training_set")
        kept = training.input("kept_rows")
        split = kept.input("split_rows")
        steps = (split.input("duplicates"), split, kept, training)
        gone = [s.table("fates").filter(pl.col("fate") != "kept") for s in steps]
        self.trained = training.table("rows").select("id", "repeats")
        self.ids = set(self.trained["id"])
        self.gone = {
            row["id"]: f"{row['fate']}: {row['reason']}".strip()
            for row in pl.concat(gone).iter_rows(named=True)
            if row["reason"]
        }
        self.into = dict(pl.concat(gone).select("id", "into").iter_rows())
        self.exam = {*split.table("exam").filter("guarded")["id"]}
        rejected = split.input("augmented_rows").table("rejected")
        self.rejected = dict(rejected.select("call", "reason").iter_rows())

    def end_of(self, case: str, row: str) -> str:
        """`trained on`, `fate: reason`, `refused: reason`, or `missing`."""
        if row in self.ids:
            return "trained on"
        if row in self.gone:
            return self.gone[row]
        call = digest({"augmenter": "rules", "how": "correct", "parent": case, "key": ""})
        reason = self.rejected.get(call, "known")  # known: it is the row of another parent
        return "missing" if reason == "known" else f"refused: {reason}"

    def repeated(self, rows: pl.Series) -> list[str]:
        """Those of these rows that stand in the training set more than once."""
        times = self.trained.group_by("id").agg(pl.col("repeats").sum())
        return times.filter((pl.col("repeats") > 1) & pl.col("id").is_in(rows.to_list()))[
            "id"
        ].to_list()


def check_store(store: Store) -> Finding:
    """Every ref of every name resolves, every table and folder has its digest, all rows add up."""
    refs = store.root / "refs"
    names = sorted({path.parent.relative_to(refs).as_posix() for path in refs.rglob("*.json")})
    versions = [version for name in names for version in store.history(name)]
    wrong = []
    for version in versions:
        try:
            for table in version.tables:
                version.table(table)
            for part in version.manifest["folders"]:
                version.folder(part)
        except Exception as error:  # whatever a damaged object provokes is the finding
            wrong.append(f"{version.name}: {error}")
        if not version.checks.get("conservation", (True, ""))[0]:
            wrong.append(f"{version.name}: {version.checks['conservation'][1]}")
    text = f"{len(versions)} versions of {len(names)} names; wrong: {wrong[:3]}"
    return "the store is whole and every row accounted for", not wrong, text


def check_rebuild(site: Site, *, until_idle: bool) -> Finding:
    """An undisturbed rebuild changes no row and trains nothing.

    It may take in what the last evaluation itself sent to the inbox, all of the held half;
    `until_idle` asks for a second one, which computes nothing at all.
    """
    promise = "an undisturbed rebuild changes nothing"
    before, trained = _data_versions(site.store), len(site.journal)
    lines = []
    for _ in range(2 if until_idle else 1):
        done = site.winnow("run")
        if done.returncode:
            return promise, False, f"exit code {done.returncode}: {_last_lines(done)}"
        lines.append(done.stdout.splitlines()[-2])
    same = _data_versions(site.store) == before and len(site.journal) == trained
    idle = lines[-1].startswith("0 computed") or not until_idle
    text = f"{' then '.join(lines)}; {len(site.journal) - trained} trainers started"
    return promise, same and idle, text


def _last_lines(done: CompletedProcess[str]) -> str:
    return " | ".join((done.stdout + done.stderr).splitlines()[-8:])


def _data_versions(store: Store) -> list[str]:
    heads = [store.head(f"tiny/{name}") for name in ("kept_rows", "training_set", "adapter")]
    return [head.data_version if head else "" for head in heads]


def check_fresh(site: Site) -> Finding:
    """Another store with the same inbox comes to the same kept rows and the same training set."""
    other = Store(site.folder / "fresh")
    shutil.copytree(site.store.root / "intake", other.root / "intake", dirs_exist_ok=True)
    done = site.winnow("run", WINNOW_STORE=str(other.root))
    if done.returncode:
        return "a fresh build agrees", False, f"exit code {done.returncode}: {_last_lines(done)}"
    same = _data_versions(site.store) == _data_versions(other)
    text = "kept_rows, training_set and adapter " + ("equal" if same else "DIFFERENT")
    return "a fresh build agrees", same, text
