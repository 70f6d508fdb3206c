"""A small world to break: two sources, rows, remembered facts, fates and a model-like folder, all
made by the product's own stages, with what people do to a store beside it."""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from assets.accounting import settle
from assets.delta import map_rows
from assets.ingest import rows_stage, source_stages
from assets.recipe import Recipe, load_recipe
from assets.stage import Job, Stage, run_stage
from curation import id_index, runs, table_texts, tables, text_index
from curation.accounts import prove_chain, tally_rows
from curation.bad_cases import add_bad_cases, read_inbox
from curation.disk import Disk
from curation.export import export_rows
from curation.fates import make_fates
from curation.frames import frame_digest
from curation.lineage import write_hf_dataset, write_llama_factory, write_openlineage
from curation.reviews import INBOX, add_verdicts, read_said
from curation.store import Made, Store, Version
from curation.upkeep import collect_garbage, remove_damaged, verify_store
from tests.curation.lineage_world import Plan, answer, publish
from tests.faults._shim import UnsyncedDisk

RECIPE = """
name: storm
task: {use: free_text}
sources:
  seeds: {use: jsonl, path: seeds.jsonl, track: domain}
  more: {use: jsonl, path: more.jsonl, track: general}
train: {base_model: demo}
"""
MEMO = "facts-of-storm"
FORMS = {"rows.jsonl": "messages", "rows.csv": "csv", "rows.parquet": "parquet"}


ROWS, LEAST = 16, 4
"""Rows of a slice of a table here, and from how many on it has an index of its ids."""


def cut_small(change: Callable[[Any, str, Any], None] = setattr) -> None:
    """Have tables of a few dozen rows cut into slices with indexes, as those of a million are."""
    for module, name, value in (
        (runs, "SLICE", ROWS), (tables, "SLICE", ROWS), (table_texts, "SLICE", ROWS),
        (runs, "LEAST", LEAST), (id_index, "LEAST", LEAST), (text_index, "LEAST_IDS", LEAST),
    ):  # fmt: skip
        assert hasattr(module, name)
        change(module, name, value)


def facts(job: Job, rows: Version) -> Made:
    """How long the answer of each row is, remembered row by row."""
    tables, since = map_rows(job, rows, measure_answers, memo=MEMO, kind="facts")
    return Made(tables={"facts": tables}, since=since, memos=[MEMO])


def measure_answers(rows: pl.DataFrame) -> pl.DataFrame:
    answer = pl.col("messages").list.last().struct.field("content")
    return rows.select("id", length=answer.str.len_chars().cast(pl.Int64))


def kept(job: Job, rows: Version, facts: Version) -> Made:
    """Rows with a short answer; one not measured yet breaks the rule, as any does on null."""
    table = rows.table("rows").join(facts.table("facts"), on="id", how="left")
    short = (pl.col("length") <= 8).fill_null(False)
    fates = [
        make_fates(table.filter(~short), "dropped", reason="length"),
        make_fates(table.filter(short), "kept"),
    ]
    books = settle({"rows/train": tally_rows(table)}, pl.concat(fates))
    tables = {"rows": table.filter(short).drop("length"), "fates": pl.concat(fates)}
    return Made(tables=tables, values=books["values"], checks=books["checks"])


def model(job: Job, kept: Version) -> Made:
    """A folder such as a model is, made of the ids it would have been trained on.

    Each process has its own to work in: one that is written to cannot be taken into a store.
    """
    folder = job.store.workdir(f"model-{os.getpid()}")
    (folder / "parts").mkdir(exist_ok=True)
    weights = "".join(kept.table("rows", ["id"])["id"]).encode()
    (folder / "weights.bin").write_bytes(hashlib.sha256(weights).digest() * 40)
    (folder / "parts" / "one.json").write_text(json.dumps({"rows": len(weights) // 32}))
    return Made(folders={"model": folder}, values={"rows": len(weights) // 32})


def stages(recipe: Recipe) -> list[Stage]:
    own = [
        Stage("facts", "2", facts, ("rows",)),
        Stage("kept", "2", kept, ("rows", "facts"), checks=("conservation",)),
        Stage("model", "3", model, ("kept",)),
    ]
    return [*source_stages(recipe), rows_stage(recipe), *own]


def write_sources(folder: Path, *, n: int) -> None:
    """`n` records in Chinese and English for each source, some shared, doubled or broken."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "storm.yaml").write_text(RECIPE)
    seeds = [{"prompt": f"打开第{i}扇窗", "answer": "好的" + "，马上" * (i % 5)} for i in range(n)]
    more = [{"prompt": f"Say {i}", "answer": "ok " * (i % 4 + 1)} for i in range(n)] + seeds[:3]
    for name, records in (("seeds", seeds + seeds[:2]), ("more", more)):
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        (folder / f"{name}.jsonl").write_text("\n".join([*lines, "{broken"]) + "\n")


def replace_sources(folder: Path, *, n: int) -> None:
    """Put other files in the place of the sources, as a careful writer does."""
    write_sources(folder / "next", n=n)
    for path in (folder / "next").glob("*.jsonl"):
        path.replace(folder / path.name)


def add_records(folder: Path, *, n: int) -> None:
    """Add `n` records to each source, half a line first, as a careless writer does."""
    for name in ("seeds", "more"):
        records = [{"prompt": f"{name} 再来{n}.{i}", "answer": "好"} for i in range(n)]
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        with (folder / f"{name}.jsonl").open("a") as handle:
            for half in (lines[:-30], lines[-30:]):
                handle.write(half)
                handle.flush()


def open_store(folder: Path, disk: Disk) -> Store:
    return Store(folder / "store", disk=disk)


def build(folder: Path, disk: Disk, steps: int = 99) -> None:
    """Run the first `steps` steps of the graph."""
    recipe = load_recipe(folder / "storm.yaml")
    job = Job(recipe, open_store(folder, disk))
    for stage in stages(recipe)[:steps]:
        run_stage(job, stage)


def cases(start: int, n: int) -> list[tuple[str, Any]]:
    fields = [("prompt", "打开{}号灯"), ("gold", "yes {}"), ("predicted", "no {}")]
    return [(str(i), {k: v.format(i) for k, v in fields}) for i in range(start, start + n)]


def verdicts(start: int, n: int) -> list[tuple[str, Any]]:
    said = {"verdict": "reject", "by": "审阅乙"}
    return [(str(i), {"id": f"{i:032x}", **said}) for i in range(start, start + n)]


def deliver(folder: Path, disk: Disk) -> None:
    store = open_store(folder, disk)
    add_bad_cases(store, [*cases(2, 5), ("9", {"prompt": "无"})])
    add_verdicts(store, [*verdicts(2, 5), ("9", {"id": "无"})])


def export(folder: Path, disk: Disk) -> None:
    """The rows in several forms, and the newest model version in the three that `lineage` has."""
    store, out = open_store(folder, disk), folder / "out"
    head = store.head("storm/kept")
    assert head
    for name, form in FORMS.items():
        export_rows(head.table("rows"), out / name, form=form, disk=disk)  # type: ignore[arg-type]
    write_openlineage(store, "w", "latest", out / "events.ndjson", disk=disk)
    write_hf_dataset(store, "w", "latest", out / "hf", disk=disk)
    write_llama_factory(store, "w", "latest", out / "llama", disk=disk)


def pin(folder: Path, disk: Disk) -> None:
    """Pins, a pin moved, one taken off, and a step put back to its first version."""
    store = open_store(folder, disk)
    known = sorted(store.history("storm/kept"), key=lambda v: v.tables["rows"]["rows"])
    oldest, newest = known[0], known[-1]
    store.pin("now", newest)
    store.pin("base", newest)
    if "old" in store.pins():
        store.unpin("old")
    store.rollback("storm/kept", oldest)


def collect(folder: Path, disk: Disk) -> None:
    collect_garbage(open_store(folder, disk), keep=1)


def repair(folder: Path, disk: Disk) -> None:
    """Damaged objects taken out and made again."""
    store = open_store(folder, disk)
    remove_damaged(store, verify_store(store))
    build(folder, disk)


# what each scenario starts from -------------------------------------------------------------------


def _empty(folder: Path) -> None:
    write_sources(folder, n=40)


def _ingested(folder: Path) -> None:
    _empty(folder)
    build(folder, UnsyncedDisk(), steps=3)


def _built(folder: Path) -> None:
    _empty(folder)
    build(folder, UnsyncedDisk())
    add_bad_cases(open_store(folder, UnsyncedDisk()), cases(0, 3))
    add_verdicts(open_store(folder, UnsyncedDisk()), verdicts(0, 3))


def _grown(folder: Path) -> None:
    """Three versions of everything, the first pinned, and files of a crash."""
    _built(folder)
    store = open_store(folder, UnsyncedDisk())
    head = store.head("storm/model")
    assert head
    store.pin("base", head)
    store.pin("old", head)
    for n in (43, 46):
        write_sources(folder, n=n)
        build(folder, UnsyncedDisk())
    frame = pl.DataFrame({"id": ["x"]})
    store.write_version("storm/dead", Made(tables={"rows": frame}), inputs={}, how={})
    store.remember("dead", {"manifest": "manifests/00/" + "0" * 64 + ".json"})
    (folder / "store" / "tmp" / ("0" * 32)).write_text("half")


def _exported(folder: Path) -> None:
    """An export, and newer versions of all that is in it."""
    _built(folder)
    publish_model(folder, n=3)
    export(folder, UnsyncedDisk())
    write_sources(folder, n=44)
    build(folder, UnsyncedDisk())
    publish_model(folder, n=4)


def publish_model(folder: Path, *, n: int) -> Version:
    """Register a model version of the recipe `w`, trained on `n` rows of a source."""
    seeds = [(f"打开{i}号灯", answer("打开", f"{i}号灯")) for i in range(n)]
    plan = Plan(sources={"seeds": seeds}, recipe={"mix": {"general": 1}})
    return publish(open_store(folder, UnsyncedDisk()), plan)


def _more(folder: Path) -> None:
    _built(folder)
    write_sources(folder, n=44)


def _damaged(folder: Path) -> None:
    _built(folder)
    head = open_store(folder, UnsyncedDisk()).head("storm/kept")
    assert head
    objects = folder / "store" / "objects"
    (objects / head.tables["rows"]["parts"][0][0][0][0]).write_bytes(b"rot")
    next((objects / "folders").rglob("one.json")).unlink()


@dataclass(frozen=True)
class Scenario:
    """What is there before, and what is done to it. Power cuts that it must bear are `LOSSES`."""

    prepare: Callable[[Path], None]
    act: Callable[[Path, Disk], None]


SCENARIOS = {
    "ingest": Scenario(_empty, lambda folder, disk: build(folder, disk, steps=3)),
    "build": Scenario(_ingested, build),
    "grow": Scenario(_more, build),
    "pin": Scenario(_grown, pin),
    "collect": Scenario(_grown, collect),
    "deliver": Scenario(_built, deliver),
    "export": Scenario(_exported, export),
    "repair": Scenario(_damaged, repair),
}


# what is looked at afterwards ---------------------------------------------------------------------


def observe(folder: Path) -> dict[str, str]:
    """What a store says, part by part: heads, tables, folders, pins and inbox; and every file of
    an export, whatever its name."""
    store = open_store(folder, UnsyncedDisk())
    seen: dict[str, str] = {}
    for name in store.names():
        head = store.head(name)
        assert head
        seen[f"head {name}"] = head.data_version
        tables = {table: frame_digest(head.table(table)) for table in head.tables}
        folders = {part: head.folder(part).name for part in head.manifest["folders"]}
        seen[f"data {head.data_version}"] = json.dumps([tables, folders])
    seen |= {f"pin {label}": version.data_version for label, version in store.pins().items()}
    seen["inbox"] = json.dumps([case["id"] for case in read_inbox(store)])
    seen["verdicts"] = json.dumps(read_said(INBOX.read(store))["row_id"].to_list())
    out = folder / "out"
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        key = f"file {path.relative_to(out).as_posix()}"
        seen[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return seen


def is_left_over(key: str) -> bool:
    """Whether what was observed is a file that an export had not yet given its name."""
    return bool(re.fullmatch(r"file (.*/)?\.winnow-[0-9a-f]{32}", key))


def make_old(folder: Path) -> None:
    """Let two hours pass for what exports left over."""
    then = time.time() - 7200
    for path in (folder / "out").rglob(".*"):
        os.utime(path, (then, then))


def find_problems(folder: Path) -> list[str]:
    """What is wrong: damage, accounts that do not balance or chain, exports that name no file."""
    store = open_store(folder, UnsyncedDisk())
    found = [damage.line() for damage in verify_store(store)]
    heads = [store.head(name) for name in store.names()] if not found else []
    for head in heads:
        assert head
        found += [f"{link.step}: {link.line}" for link in prove_chain(head) if not link.holds]
    for path in (folder / "out").rglob("dataset_info.json"):
        named = [said["file_name"] for said in json.loads(path.read_text()).values()]
        found += [f"{path} names {name}" for name in named if not (path.parent / name).is_file()]
    return found
