"""Small deliveries, the recipe and job that read them, and what became of each record."""

import json
import random
from dataclasses import replace

import polars as pl

from assets.ingest import rows_stage, source_stages
from assets.recipe import Plug, load_recipe
from assets.stage import Job, run_stage
from curation.accounts import prove_chain
from curation.lineage.views import View, read_occurrences
from curation.plugins import find_plugin
from curation.rows import OCCURRENCE_SCHEMA
from curation.store import Store
from tests.assets.test_recipe import TINY

PAIRS = [
    ("打开空调", '{"do":"打开"}'),
    ("Turn on the radio", '{"do":"on"}'),
    ("把温度调到二十二度", '{"do":"调"}'),
    ("Call 妈妈", '{"do":"拨打"}'),
]


def lines(pairs=PAIRS, **more):
    records = ({"prompt": p, "answer": a, **more} for p, a in pairs)
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()


def write(path, data):
    path.write_bytes(data)
    return path


def reading(path, use="jsonl", **options):
    return Plug("来源", use, find_plugin("curation.sources", use), {"path": path, **options})


def job_of(tmp_path, *plugs):
    """A job on an empty or known store, its recipe reading these sources."""
    named = {f"s{i}": replace(plug, key=f"s{i}") for i, plug in enumerate(plugs)}
    return Job(replace(load_recipe(TINY), sources=named), Store(tmp_path / "store"))


def deliver(job):
    """The merged rows of a job's sources; every account up to there is proven."""
    for stage in source_stages(job.recipe):
        run_stage(job, stage)
    rows = run_stage(job, rows_stage(job.recipe)).version
    assert all(link.holds for link in prove_chain(rows)), prove_chain(rows)
    return rows


def occurrences(rows):
    """What became of every record of every source."""
    view = View(rows.store, "", {"rows": rows, **rows.upstream()})
    return read_occurrences(view, OCCURRENCE_SCHEMA.names())


def counts(rows):
    """Delivered records by outcome; each of them has exactly one."""
    outcome = occurrences(rows).group_by("outcome").len()
    found = dict(outcome.iter_rows())
    sources = rows.upstream().values()
    assert sum(found.values()) == sum(sum(s.values["fates"].values()) for s in sources)
    assert rows.tables["rows"]["rows"] == found.get("new", 0)
    return found


def reasons(rows):
    found = occurrences(rows).filter(pl.col("outcome") == "quarantined")
    return found["reason"].to_list()


def numbered(n):
    """`n` pairs that differ in every word."""
    return [(f"第{i}句话：{random.Random(i).random()}", f'{{"n":{i}}}') for i in range(n)]
