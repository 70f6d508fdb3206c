"""A store with model versions in it, made by the real steps but for training and answering.

Only what costs minutes is left out: the adapter is a value, and the answers are given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import yaml

from curation.bad_cases import BAD_CASE_SCHEMA
from curation.dedup import find_duplicates
from curation.error_types import TYPE_SCHEMA
from curation.exam import set_exam
from curation.fates import keep_rows
from curation.ingest import merge_sources, read_source
from curation.lineage.model import summarise_model
from curation.llm_ledger import LEDGER, read_calls
from curation.mix import mix_tracks
from curation.pairs import TRAINED, case_pairs
from curation.registry import next_number
from curation.rows import (
    EDGE_SCHEMA,
    canonical_json,
    dialogue,
    digest,
    make_row,
    row_id,
    rows_frame,
)
from curation.rules import judge_rows
from curation.sources._base import Record
from curation.split import half_of
from curation.store import Made, Store, Version
from curation.tasks.json_slots import json_slots
from curation.text import text_key

TASK = json_slots(
    fields=["actions"], slots={"actions": ["do", "what"]}, closed={"do": ["打开", "关闭"]}
)
REJECTED = pl.Schema({"text": pl.String, "reason": pl.String, "call": pl.String})
CASES = pl.Schema(
    {"id": pl.String, "arm": pl.String, "split": pl.String, "prompt": pl.String, "gold": pl.String,
     "predicted": pl.String, "exact": pl.Boolean, "signature": pl.String}
)  # fmt: skip


def answer(do: str, what: str) -> str:
    return canonical_json({"actions": [{"do": do, "what": what}]})


def case(prompt: str, gold: str, predicted: str = "{}", found_by: str = "beta") -> dict[str, Any]:
    """A bad case as the snapshot holds it."""
    said = {"prompt": prompt, "gold": gold, "predicted": predicted}
    cluster = digest(text_key(prompt))
    return {
        "id": digest(said), **said, "found_by": found_by, "half": half_of(cluster),
        "cluster": cluster, "signature": "not_json", "row_id": row_id(dialogue(prompt, gold)),
    }  # fmt: skip


@dataclass
class Plan:
    """What one model version is built from; every part has a default that is good enough."""

    sources: dict[str, list[Any]] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)  # licence, split … of a source
    made: list[tuple[str, str, str, str]] = field(
        default_factory=list
    )  # prompt, answer, parent, kind
    rejected: list[tuple[str, str, str]] = field(default_factory=list)  # text, reason, call
    cases: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)  # prompt -> what the model says
    keep: list[str] = field(default_factory=lambda: ["n_chars <= 400", "not label_conflict"])
    recipe: dict[str, Any] = field(default_factory=dict)
    how: dict[str, dict[str, Any]] = field(default_factory=dict)  # step -> what differs in `how`
    promoted: bool = True
    taught: list[dict[str, Any]] = field(default_factory=list)  # cases it was preferred on
    call: str = ""  # the archived call that wrote the made rows
    reference: list[tuple[str, str]] = field(default_factory=list)  # what scorers were fitted on

    @property
    def said(self) -> dict[str, Any]:
        sources = {n: {"use": "jsonl", **self.labels.get(n, {})} for n in self.sources}
        return {"name": "w", "sources": sources, "keep": self.keep, **self.recipe}


GENERAL = [(f"背诵第{n}段课文", f"第{n}段的内容") for n in range(40)]


def publish(store: Store, plan: Plan) -> Version:
    """Build and register one model version of the recipe `w`."""
    world = _World(store, plan)
    sources = {name: world.source(name) for name in ["general", *plan.sources]}
    rows = world.rows(sources)
    cases = world.step("bad_cases", {"rows": pl.DataFrame(plan.cases, schema=BAD_CASE_SCHEMA)},
                       values={"halves": _counts(plan.cases)})  # fmt: skip
    types = world.step("error_types", {"rows": _types(plan.cases)}, inputs={"bad_cases": cases})
    made = world.made({"rows": rows, "bad_cases": cases, "error_types": types})
    steps = world.curate(rows, made, cases)
    learned = {"rows": sources["general"].table("rows", ["id"])}
    base = world.step("base_model", learned, inputs={"sources/general": sources["general"]},
                      values={"model": "demo"})  # fmt: skip
    trained = world.mix(steps["kept_rows"], base)
    return world.register(trained, base, cases, steps["split_rows"])


@dataclass
class _World:
    store: Store
    plan: Plan

    def step(
        self,
        name: str,
        tables: Mapping[str, pl.DataFrame],
        *,
        inputs: Mapping[str, Version] | None = None,
        section: Any = None,
        values: Mapping[str, Any] | None = None,
    ) -> Version:
        how = {
            "code": "c", "section": section, "recipe": digest(self.plan.said), "options": {},
            "recipe_text": yaml.safe_dump(self.plan.said, allow_unicode=True, sort_keys=False),
            "modules": {}, "packages": {"polars": "2.1"}, "reads": digest(""),
            **self.plan.how.get(name, {}),
        }  # fmt: skip
        made = Made(tables=tables, values=values or {})
        version = self.store.write_version(f"w/{name}", made, inputs=inputs or {}, how=how)
        self.store.publish(version)
        return version

    def source(self, name: str) -> Version:
        given = self.plan.sources.get(name, GENERAL)
        track = "general" if name == "general" else "domain"
        labels = {"track": track, **self.plan.labels.get(name, {})}
        records = [_record(name, n, r) for n, r in enumerate(given, 1)]
        read = read_source(records, source=name, **labels)  # type: ignore[arg-type]
        said = {"fates": read.counts | {"delivered": 0}}
        return self.step(
            f"sources/{name}",
            {"rows": read.rows, "occurrences": read.occurrences},
            section=[[name, "jsonl", {}, labels], None],
            values=said,
        )

    def rows(self, sources: Mapping[str, Version]) -> Version:
        merged, shared = merge_sources([s.table("rows") for s in sources.values()])
        fates = {"new": merged.height, "duplicate": shared.height}
        tables = {"rows": merged, "shared": shared}
        inputs = {f"sources/{name}": s for name, s in sources.items()}
        return self.step("rows", tables, inputs=inputs, values={"fates": fates})

    def made(self, inputs: Mapping[str, Version]) -> Version:
        rows, edges = [], []
        for prompt, said, parent, kind in self.plan.made:
            call = self.plan.call or digest([prompt, parent])
            origin = "badcase" if kind == "fix" else "llm" if self.plan.call else "transform"
            source = "llm" if self.plan.call else "rules"
            row = make_row(dialogue(prompt, said), origin=origin, source=source, created_by=call)
            rows.append(row)
            edges.append({"child": row["id"], "parent": parent, "kind": kind, "call": call})
        tables = {
            "rows": rows_frame(rows),
            "edges": pl.DataFrame(edges, schema=EDGE_SCHEMA),
            "rejected": pl.DataFrame(self.plan.rejected, schema=REJECTED, orient="row"),
            "calls": read_calls(self.store.root / LEDGER, {self.plan.call} - {""}).with_columns(
                number=pl.int_range(pl.len()).over("key")
            ),
        }
        section = [
            ["augment", "rules", self.plan.said.get("augment", {}), {}],
            ["task", "x", {}, {}],
        ]
        return self.step("augmented_rows", tables, inputs=inputs, section=section)

    def curate(self, rows: Version, made: Version, cases: Version) -> dict[str, Version]:
        imported = rows.table("rows")
        train = imported.filter(pl.col("split") == "train")
        entered = pl.concat([train, made.table("rows").join(train, on="id", how="anti")]).sort("id")
        both = {"rows": rows, "augmented_rows": made}
        options = self.plan.said.get("dedup", {})
        priority = list(self.plan.sources)
        found = find_duplicates(entered, task=TASK, priority=priority, **options)
        tables = {n: getattr(found, n) for n in ("pairs", "conflicts", "fates", "facts")}
        duplicates = self._judged("duplicates", tables, both, {"dedup": options})
        unique = keep_rows(entered, found.fates)
        exam = set_exam(unique, imported, cases.table("rows"), made.table("edges"), found.pairs,
                        task=TASK)  # fmt: skip
        names = ("rows", "exam", "fates", "clusters", "once", "withdrawn")
        parts = {name: getattr(exam, name) for name in names}
        split = self._judged("split_rows", parts, {**both, "bad_cases": cases,
                                                   "duplicates": duplicates})  # fmt: skip
        scored = exam.rows.join(_flags(found.facts), on="id", how="left")
        fates = judge_rows(scored, self.plan.keep)
        scores = scored.select("id", "n_chars", "label_conflict").rename({"n_chars": "chars"})
        kept = {"rows": keep_rows(exam.rows, fates), "fates": fates, "scores": scores}
        section = {"keep": self.plan.keep}
        trusted = rows_frame(make_row(dialogue(*pair)) for pair in self.plan.reference)
        reference = self.step("reference", {"rows": trusted}, inputs={"rows": rows})
        middles = pl.DataFrame({"topic": [0], "vector": [b"\0\1"]})
        topics = self.step("topics/near", {"topics": middles}, inputs={"split_rows": split})
        inputs = {"split_rows": split, "duplicates": duplicates, "reference": reference}
        inputs |= {"topics/near": topics}
        return {"split_rows": split, "kept_rows": self._judged("kept_rows", kept, inputs, section)}

    def mix(self, kept: Version, base: Version) -> Version:
        options = {"general": 1, **self.plan.said.get("mix", {})}
        rows = kept.table("rows")
        mixed = mix_tracks(rows, min_share=0.0, **options)
        fates = mixed.judge(rows)
        counts = dict(mixed.counts.select("track", "copies").iter_rows())
        mix = {t: {"rows": n, "tokens": n, "loss_tokens": n} for t, n in counts.items()}
        inputs = {"kept_rows": kept, "base_model": base}
        section = {"mix": self.plan.said.get("mix"), "train": None}
        return self.step(
            "training_set",
            {"rows": mixed.rows, "fates": fates},
            inputs=inputs,
            section=section,
            values={"fates": _by_fate(fates), "mix": mix},
        )

    def register(self, trained: Version, base: Version, cases: Version, split: Version) -> Version:
        adapter = self.step("adapter", self.pairs(), values={"options": {"seed": 0}},
                            inputs={"training_set": trained, "base_model": base})  # fmt: skip
        exam = split.table("exam")
        said = [_answered(row, self.plan.answers) for row in exam.iter_rows(named=True)]
        said += [_asked(case, self.plan.answers) for case in self.plan.cases
                 if case["prompt"] in self.plan.answers and case["half"] == "learn"]  # fmt: skip
        evaluation = self.step(
            "evaluation",
            {"rows": pl.DataFrame(said, schema=CASES), "leaks": pl.DataFrame({"id": []})},
            inputs={"training_set": trained, "split_rows": split, "bad_cases": cases},
        )
        id = digest([adapter.data_version, trained.data_version])
        number = next_number(self.store, "w", id)
        values = {
            "number": number, "id": id, "promoted": self.plan.promoted, "card": f"# w v{number}\n",
            "verdict": {"rules": [["leaks = 0", True, "leaks 0"]], "note": ""},
            "metrics": {"candidate": {"exact_match": 0.5}}, "failed_heldout": 0,
            "lineage": summarise_model(trained, cases, base, adapter),
        }  # fmt: skip
        inputs = {"adapter": adapter, "base_model": base, "training_set": trained,
                  "bad_cases": cases, "evaluation": evaluation}  # fmt: skip
        return self.step("model_version", {}, inputs=inputs, values=values)

    def pairs(self) -> dict[str, pl.DataFrame]:
        """What a preference stage leaves of the cases that were its pairs; nothing without any."""
        if not self.plan.taught:
            return {}
        cases = pl.DataFrame(self.plan.taught, schema=BAD_CASE_SCHEMA)
        pairs, _ = case_pairs(cases.with_columns(half=pl.lit("learn")), task=TASK)
        return {"pairs": pairs.with_columns(part=pl.lit(TRAINED), reason=pl.lit(""))}

    def _judged(
        self,
        name: str,
        tables: Mapping[str, pl.DataFrame],
        inputs: Mapping[str, Version],
        section: Any = None,
    ) -> Version:
        values = {"fates": _by_fate(tables["fates"])}
        return self.step(name, tables, inputs=inputs, section=section, values=values)


def _record(name: str, number: int, given: Any) -> Record:
    if isinstance(given, str):  # a line that cannot be read
        return Record(f"{name}.jsonl:{number}", None, "broken JSON", given)
    prompt, said = given
    return Record(f"{name}.jsonl:{number}", {"prompt": prompt, "answer": said})


def _answered(row: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, Any]:
    prompt, gold = (row["messages"][i]["content"] for i in (-2, -1))
    said = answers.get(prompt, gold)
    return {
        "id": row["id"], "arm": "candidate", "split": row["split"], "prompt": prompt, "gold": gold,
        "predicted": said, "exact": said == gold, "signature": "" if said == gold else "not_json",
    }  # fmt: skip


def _asked(case: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, Any]:
    """A bad case that is no row of the exam, asked beside it."""
    row = make_row(dialogue(case["prompt"], case["gold"]), split="badcase")
    return _answered(row, answers)


def _types(cases: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    n = sum(c["half"] == "learn" for c in cases)
    told = {"signature": "not_json", "n": n, "quota": 6 * n, "name": "not json"}
    told |= {"name_zh": "", "stopped": "", "cases": [c["id"] for c in cases]}
    return pl.DataFrame([told] if n else [], schema=TYPE_SCHEMA)


def _flags(facts: pl.DataFrame) -> pl.DataFrame:
    return facts.select("id", label_conflict=pl.col("value") > 0)


def _counts(cases: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    halves = [c["half"] for c in cases]
    return {half: halves.count(half) for half in sorted(set(halves))}


def _by_fate(fates: pl.DataFrame) -> dict[str, int]:
    counted = fates.group_by("fate").len().sort("fate")
    return {str(fate): int(n) for fate, n in counted.iter_rows()}
