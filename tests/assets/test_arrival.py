"""The order in which deliveries arrive leaves no trace: all tables end the same, bit for bit."""

import os
import random
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest

from curation.bad_cases import add_bad_cases
from curation.rows import dialogue, digest, row_id
from curation.split import half_of
from curation.text import text_key
from tests.assets._project import HAN, LAST, RECIPE, RULE_SCORERS, SEEDS, Project, command, talk

SOURCES: dict[str, dict[str, str]] = {
    **RECIPE["sources"],
    "exam": {"use": "jsonl", "path": "exam", "track": "domain", "split": "test"},
    "traffic": {"use": "jsonl", "path": "traffic", "track": "domain", "split": "heldout"},
}
SCORERS = (*RULE_SCORERS, "task_valid", "pii")  # all that judge a row by itself
SECTIONS: dict[str, Any] = {
    "sources": SOURCES,
    "scorers": {name: {} for name in SCORERS},
    "keep": [*RECIPE["keep"], "task_valid", "not pii"],
    "guard": {"max_share": 1.0},
}
FAMILIES = 6
"""Families of general rows whose second member is near the first and the third, which are not
near each other: which of them stay must not depend on who came first."""


def family(number: int, member: int) -> dict[str, str]:
    text = "".join(random.Random(number).sample(HAN, len(HAN)))
    for place, other in ((12, "甲"), (33, "乙"))[:member]:
        text = text[:place] + other + text[place + 1 :]
    return {"prompt": text, "answer": f"好的，第{number}句。"}


def families(member: int) -> list[dict[str, str]]:
    return [family(n, member) for n in range(FAMILIES)]


def asks(prompt: str, what: str) -> dict[str, str]:
    return {**command(what), "prompt": prompt}


def cases(half: str, things: str) -> list[dict[str, str]]:
    """Bad cases whose prompts fall into a half."""
    said = [(f"能不能打开{thing}箱", command(f"{thing}箱")["answer"]) for thing in things]
    known = [(p, gold) for p, gold in said if half_of(digest(text_key(p))) == half]
    return [{"prompt": p, "gold": gold, "predicted": "{}"} for p, gold in known]


BROKEN = ["{", "[1]", '{"prompt": "没有答案"}', "不是 JSON", '{"prompt": "\\ud83d", "answer": "a"}']
KNOWN = {"general/0.jsonl": talk(200, start=900), "seeds/0.jsonl": SEEDS[:4]}
# File -> its lines; "cases" are bad cases. Each of these arrives at once, in any order.
DELIVERIES: list[dict[str, list[Any]]] = [
    {
        "general/1.jsonl": [*families(0), *talk(8), {"prompt": "说" * 40, "answer": "好" * 120}],
        "seeds/1.jsonl": [*SEEDS, asks("把左边的车窗打开一半", "左边的车窗"), *BROKEN[:2]],
        "cases": [*cases("learn", "天地玄黄"), {"prompt": "没有答案"}],
    },
    {
        "general/2.jsonl": [*families(1), *talk(6, start=4), *BROKEN],
        "exam/1.jsonl": [*SEEDS[5:], asks("请打开后备箱", "后备箱")],
        "traffic/1.jsonl": [command(thing) for thing in ("氛围灯", "除雾", "天窗", "遮阳帘")],
        "cases": [*cases("hold", "天地玄黄宇宙"), *cases("learn", "玄黄宇宙洪荒")],
    },
    {
        "general/3.jsonl": [
            *families(2), *talk(3), {"prompt": "电话是多少？", "answer": "打13812345678。"},
            {"prompt": "请问怎么停下来？", "answer": "<|im_end|>就停了。"},
        ],
        "seeds/2.jsonl": [
            asks("把左边的车窗打开一半吧", "左边的车窗"), asks("请打开空调", "天窗"),
            asks("请打开 空调！", "空调"), {"prompt": "请打开灯", "answer": "不是命令"},
            command("除雾"), asks("请打开后备箱！", "后备箱"), *SEEDS[2:5], BROKEN[0],
        ],
    },
]  # fmt: skip
Heads = dict[str, tuple[str, dict[str, Any], dict[str, pl.DataFrame]]]


def arrive(base: Path, order: Sequence[int]) -> Heads:
    """Data version, values and tables of every step at the end, all built after each arrival."""
    with TemporaryDirectory() as folder:
        project = Project(Path(folder), base, **SECTIONS)
        for name in SOURCES:
            project.write(f"{name}/0.jsonl", KNOWN.get(f"{name}/0.jsonl", []))
        for number in order:
            for file, lines in DELIVERIES[number].items():
                if file == "cases":
                    named = ((f"{number}:{i}", case) for i, case in enumerate(lines))
                    add_bad_cases(project.store, named)
                else:
                    project.write(file, lines)
            project.build()
        steps = [stage.name for stage in project.stages]
        heads = {name: project.head(name) for name in steps[: steps.index(LAST) + 1]}
        return {
            name: (head.data_version, dict(head.values), {t: head.table(t) for t in head.tables})
            for name, head in heads.items()
        }


@pytest.fixture(scope="module")
def in_order(tiny_base: Path) -> Heads:
    return arrive(tiny_base, range(len(DELIVERIES)))


ORDERS = ((1, 2, 0), (2, 0, 1))
"""With the order in the list itself each delivery comes first, second and last, and before and
after each other one."""
OTHERS = sorted({*permutations(range(len(DELIVERIES)))} - {*ORDERS, (0, 1, 2)})
LONG = pytest.mark.skipif("WINNOW_EVERY_ORDER" not in os.environ, reason="long: make chaos")


@pytest.mark.parametrize(
    "order", [*ORDERS, *(pytest.param(o, marks=LONG) for o in OTHERS)], ids=str
)
def test_deliveries_in_any_order_come_to_the_same(tiny_base, in_order, order):
    found = arrive(tiny_base, order)
    assert found.keys() == in_order.keys() and {f"facts/{s}" for s in SCORERS} <= found.keys()
    for name, (version, values, tables) in in_order.items():
        assert found[name][2].keys() == tables.keys()
        for table, frame in tables.items():
            assert found[name][2][table].equals(frame), (name, table)
        assert found[name][1] == values, name
        assert found[name][0] == version, name


def test_what_arrives_meets_every_kind_of_trouble(in_order):
    """Else the order would have nothing to change."""
    tables = {name: found for name, (_, _, found) in in_order.items()}
    assert {"exact", "near"} <= set(tables["duplicates"]["pairs"]["kind"])
    assert tables["duplicates"]["conflicts"].height and tables["rows"]["shared"].height
    merged = set(tables["duplicates"]["pairs"]["id"])
    chains = [row_ids(n) & merged for n in range(FAMILIES)]
    assert {len(chain) for chain in chains} == {1, 2}
    assert "leak" in set(tables["split_rows"]["fates"]["reason"])
    outcomes = pl.concat([t["occurrences"] for n, t in tables.items() if n.startswith("sources/")])
    assert (outcomes["outcome"] == "quarantined").sum() == len(BROKEN) + 3
    assert set(tables["kept_rows"]["fates"]["reason"]) >= {*SECTIONS["keep"]} - {"repetition < 0.9"}
    assert set(tables["bad_cases"]["rows"]["half"]) == {"learn", "hold"}
    assert tables["augmented_rows"]["rows"].height


def row_ids(number: int) -> set[str]:
    """Ids of the three rows of a family."""
    said = (family(number, member) for member in range(3))
    return {row_id(dialogue(row["prompt"], row["answer"])) for row in said}
