"""A recipe with its files and a store, built stage by stage without Dagster, its work counted."""

import copy
import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from assets.graph import build_stages
from assets.recipe import load_recipe
from assets.stage import Job, run_stage
from curation.accounts import prove_chain
from curation.store import Made, Store, Version

LAST = "training_set"
WORK = re.compile(r"(\w+): ([\d,]+) rows to do, ([\d,]+) were done before")
RULE_SCORERS = ("length", "repetition", "special_tokens")
HAN = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出"
COMPARED = ("rows", "duplicates", "unique_rows", "split_rows", "kept_rows", LAST)
RECIPE: dict[str, Any] = {
    "name": "delta",
    "task": {"use": "json_slots", "fields": ["actions"], "slots": {"actions": ["do", "what"]}},
    "sources": {
        "seeds": {"use": "jsonl", "path": "seeds", "track": "domain"},
        "general": {"use": "jsonl", "path": "general", "track": "general"},
    },
    "augment": {"use": "rules", "per_seed": 1},
    "scorers": {name: {} for name in RULE_SCORERS},
    "keep": ["length <= 100", "not special_tokens", "repetition < 0.9", "not label_conflict"],
    "dedup": {"threshold": 0.8},
    "guard": {"max_share": 0.9},
    "mix": {"general": 1, "domain": 1, "max_repeats": 1000, "min_share": 0.001},
}


@dataclass(frozen=True)
class Build:
    """What one run of the stages came to."""

    counted: dict[str, int]
    recalled: dict[str, bool]


class Project:
    """A recipe, the files of its sources and a store, built stage by stage without Dagster."""

    def __init__(self, folder: Path, base_model: Path, **sections: Any):
        self.folder, self.store = folder, Store(folder / "store")
        self.said = RECIPE | {"train": {"base_model": str(base_model)}}
        for name in sections.get("sources", RECIPE["sources"]):
            (folder / name).mkdir()
        self.change(**sections)

    def copy(self, folder: Path) -> "Project":
        """The same in another folder, with its files and all that it built."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        again = copy.copy(self)
        again.folder, again.store = folder, Store(folder / "store")
        again.change()
        return again

    def change(self, **sections: Any) -> None:
        """Write the recipe anew with these sections in place of what it said."""
        self.said = self.said | sections
        path = self.folder / "delta.yaml"
        path.write_text(yaml.safe_dump(self.said, allow_unicode=True), encoding="utf-8")
        self.recipe = load_recipe(path)
        self.stages = build_stages(self.recipe)

    def write(self, at: str, lines: Iterable[Any], *, append: bool = False) -> None:
        """Lines of one file; text stands as it is, anything else as JSON."""
        said = [x if isinstance(x, str) else json.dumps(x, ensure_ascii=False) for x in lines]
        with (self.folder / at).open("a" if append else "w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in said)

    def build(self, *, store: Store | None = None, last: str = LAST, found_by: str = "") -> Build:
        """Run every stage down to `last` and publish what comes out.

        `found_by` is the run option that chooses bad cases.
        """
        counted, recalled = Counter(), {}

        def count(line: str) -> None:
            if found := WORK.search(line):
                counted[found[1]] += int(found[2].replace(",", ""))

        for stage in self.stages:
            options = {"found_by": found_by} if found_by and stage.name == "bad_cases" else {}
            outcome = run_stage(Job(self.recipe, store or self.store, count, options), stage)
            recalled[stage.name] = outcome.recalled
            if stage.name == last:
                break
        return Build({name: n for name, n in counted.items() if n}, recalled)

    def head(self, name: str, *, store: Store | None = None) -> Version:
        version = (store or self.store).head(f"delta/{name}")
        assert version is not None, name
        return version


def talk(n: int, *, start: int = 0) -> list[dict[str, str]]:
    """General rows that resemble one another in nothing."""
    drawn = (random.Random(start + i) for i in range(n))
    names = ["".join(draw.choices(HAN, k=32)) for draw in drawn]
    return [{"prompt": f"{name[:14]}？", "answer": f"好的，{name[14:]}。"} for name in names]


def command(what: str, answer: str | None = None) -> dict[str, str]:
    """A domain row."""
    said = {"actions": [{"do": "打开", "what": answer or what}]}
    return {"prompt": f"请打开{what}", "answer": json.dumps(said, ensure_ascii=False)}


SEEDS = [
    command(what) for what in ("空调", "天窗", "车灯", "雨刮", "音乐", "座椅加热", "the radio")
]


SOURCES: dict[str, dict[str, str]] = {
    **RECIPE["sources"],
    "exam": {"use": "jsonl", "path": "exam", "track": "domain", "split": "test"},
    "traffic": {"use": "jsonl", "path": "traffic", "track": "domain", "split": "heldout"},
}
PLAIN = {
    "scorers": {"length": {}},
    "keep": ["length <= 55", "not label_conflict"],
    "guard": {"max_share": 1.0},
}


def hand_on_exam(project: Project, fresh: Store) -> None:
    """Let a store begun now know what was once in the project's exam, and is trained on no more."""
    head = project.head("split_rows")
    made = Made(tables={"once": head.table("once")})
    how = {**head.manifest["how"], "code": ""}
    fresh.publish(fresh.write_version(head.name, made, inputs={}, how=how))


def case_of(line: Any) -> dict[str, Any]:
    """What a product says of a line that its model answered with nothing."""
    line = line if isinstance(line, dict) else {"prompt": str(line)}
    gold = {"gold": line["answer"]} if "answer" in line else {}
    return {"prompt": line["prompt"], "predicted": "{}", **gold}


def deliver(project: Project, kind: str, file: str, lines: Sequence[Any]) -> None:
    if kind == "remove":
        (project.folder / file).unlink(missing_ok=True)
    else:
        project.write(file, lines, append=kind == "append")


def require_same(project: Project, fresh: Store, *, steps: Sequence[str] = COMPARED) -> None:
    """Every table of the sources and steps bit for bit, and with it the counts and accounts."""
    for name in (*(f"sources/{source}" for source in project.recipe.sources), *steps):
        ours, theirs = project.head(name), project.head(name, store=fresh)
        for table in theirs.tables:
            assert ours.table(table).equals(theirs.table(table)), (name, table)
        assert ours.values == theirs.values, name
        assert ours.data_version == theirs.data_version, name


def require_books(version: Version) -> None:
    links = prove_chain(version)
    assert {link.step for link in links} >= {*COMPARED} - {"unique_rows"}
    assert not [link for link in links if not link.holds]
