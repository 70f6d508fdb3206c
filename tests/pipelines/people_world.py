"""A store with two versions of the recipe `tiny`, whose answers are given in two languages."""

from pathlib import Path
from typing import Any

import polars as pl

from assets.human import ask_marks, ask_which, dimensions_of
from assets.recipe import load_recipe
from curation.bad_cases import BAD_CASE_SCHEMA
from curation.judging_desk import JudgingDesk
from curation.rows import dialogue, digest, make_row, rows_frame
from curation.store import Made, Store
from curation.tasks._corrupt import compact
from evaluation.cases import CASE_SCHEMA
from tests.pipelines.conftest import TINY

RECIPE = load_recipe(TINY)
ROOMS = ["前窗", "后窗", "天窗", "左窗", "right window", "left window", "前灯", "后灯"]
HELD = ("打开音乐", "音乐")
HOW = {"code": "c", "section": None}


def said(what: str) -> str:
    return compact({"actions": [{"do": "打开", "what": what}]})


GOLD = {**{f"open the {room}" if room.isascii() else f"打开{room}": said(room) for room in ROOMS},
        HELD[0]: said(HELD[1])}  # fmt: skip
ROWS = [make_row(dialogue(p, gold, system="你是车载助手。"), split="test")
        for p, gold in GOLD.items()]  # fmt: skip
ID = {row["messages"][1]["content"]: row["id"] for row in ROWS}


def build_store(folder: Path) -> Path:
    """v1 answers `好的` to five of nine prompts, v2 to one; one right answer has spaces in v1.

    The first two prompts are of one cluster, the last is a bad case that was only measured.
    """
    store = Store(folder)
    prompts = [*GOLD]
    spaced = {prompts[7]: GOLD[prompts[7]].replace(":", ": ")}
    register(store, 1, {**dict.fromkeys(prompts[1:6], "好的"), **spaced})
    register(store, 2, {prompts[0]: "好的"})
    return folder


def register(store: Store, number: int, answers: dict[str, str]) -> None:
    """A version that answers right but for these prompts, as the last stages leave it."""

    def step(name: str, made: Made, **inputs: Any) -> Any:
        version = store.write_version(f"tiny/{name}", made, inputs=inputs, how=HOW)
        store.publish(version)
        return version

    cases = [
        {"id": row["id"], "arm": "candidate", "split": "badcase" if prompt == HELD[0] else "test",
         "kind": "task", "source": "test", "lang": row["lang"], "prompt": prompt, "gold": gold,
         "predicted": answers.get(prompt, gold), "loss_nats": 2.0, "n_bytes": 9, "n_tokens": 5}
        for row, (prompt, gold) in zip(ROWS, GOLD.items(), strict=True)
    ]  # fmt: skip
    held = {"id": digest(HELD), "prompt": HELD[0], "gold": GOLD[HELD[0]], "predicted": "{}",
            "found_by": "", "half": "hold", "cluster": "held", "signature": "not_json",
            "row_id": ID[HELD[0]]}  # fmt: skip
    clusters = {row["id"]: row["id"] for row in ROWS} | {ROWS[1]["id"]: ROWS[0]["id"]}
    together = pl.DataFrame([*clusters.items()], schema=["id", "cluster"], orient="row")
    exam = rows_frame(ROWS[:-1])  # a bad case that was only measured is no row of it
    split = step("split_rows", Made(tables={"clusters": together, "exam": exam}))
    wrong = step("bad_cases", Made(tables={"rows": pl.DataFrame([held], schema=BAD_CASE_SCHEMA)}))
    predictions = step("predictions", Made(tables={"rows": pl.DataFrame(cases, CASE_SCHEMA)}))
    evaluation = step("evaluation", Made(), predictions=predictions, split_rows=split,
                      bad_cases=wrong)  # fmt: skip
    values = {"number": number, "id": f"{number:032x}", "promoted": True}
    step("model_version", Made(values=values), evaluation=evaluation, predictions=predictions)


def open_blind(store: Store, *, n: int = 100, show_gold: bool = False, **how: Any) -> JudgingDesk:
    """A desk at which v1 and v2 are held against each other."""
    asked = ask_which(store, RECIPE, ["v1", "v2"], n=n, seed=0, show_gold=show_gold)
    return JudgingDesk(store, asked, **how)


def open_rating(store: Store, *, n: int = 100, **how: Any) -> JudgingDesk:
    """A desk at which the answers of v2 are rated."""
    asked = ask_marks(store, RECIPE, "v2", n=n, seed=0, show_gold=False)
    return JudgingDesk(store, asked, dimensions=dimensions_of(RECIPE), **how)
