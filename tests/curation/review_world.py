"""A small store in which rows wait for people: seeds, a conflict, a row for a new error type."""

from pathlib import Path
from typing import Any

from curation.review_desk import Desk
from curation.rows import dialogue, row_id
from curation.store import Store
from tests.curation.lineage_world import TASK, Plan, answer, case, publish

SEEDS = [(f"打开{what}", answer("打开", what)) for what in ("空调", "天窗", "车灯", "雨刮")]
EITHER = [("打开窗和灯", answer("打开", what)) for what in ("窗", "灯")]
FAILED = case("关闭音乐", answer("关闭", "音乐"))
MADE = ("请关闭音乐", answer("关闭", "音乐"), FAILED["row_id"], "augment_badcase")
KEEP = ["n_chars <= 60", "not label_conflict"]


def build_store(folder: Path) -> Path:
    """The store of a recipe `w` that made one model version."""
    cases = [FAILED | {"half": "learn"}]
    plan = Plan(sources={"seeds": [*SEEDS, *EITHER]}, made=[MADE], cases=cases, keep=KEEP)
    publish(Store(folder), plan)
    return folder


def open_desk(store: Store, **options: Any) -> Desk:
    """A desk at which no row is asked of two reviewers, unless the options say so."""
    return Desk(store, "w", keep=KEEP, task=TASK, **{"overlap": 0, **options})


def id_of(prompt: str, said: str) -> str:
    return row_id(dialogue(prompt, said))
