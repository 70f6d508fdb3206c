"""Forgetting: what was kept of general ability, by kind of question.

One number over all general rows hides that a model kept its manners and lost its arithmetic.
"""

from collections.abc import Sequence
from math import log
from typing import Any

import polars as pl

from curation.markdown import plain, table
from curation.tasks._grounding import normal_text
from evaluation.metrics._cases import share
from evaluation.metrics.over_json import is_json

KINDS = ("bpb", "exact", "json")


def general_by_category(cases: pl.DataFrame, arms: Sequence[str]) -> list[dict[str, Any]]:
    """Of each category of the general cases: category, n, asked, and arms -> numbers.

    Numbers are bpb (bits per byte of gold), exact (the share answered as gold has it) and json (the
    share answered in JSON though gold is none); null where there was nothing to measure. Only some
    general rows are asked, and only where a metric reads their answers.
    """
    general = cases.filter((pl.col("kind") == "general") & pl.col("arm").is_in(list(arms)))
    found = []
    parts = general.with_columns(pl.col("category").fill_null("")).group_by("category")
    for (category,), part in sorted(parts, key=lambda item: str(item[0][0])):
        sides = {arm: part.filter(pl.col("arm") == arm) for arm in arms}
        one = next(side for side in sides.values() if side.height)
        found.append(
            {
                "category": category,
                "n": one.height,
                "asked": one["predicted"].count(),
                "arms": {arm: _numbers(side) for arm, side in sides.items() if side.height},
            }
        )
    return found


def general_table(found: Sequence[dict[str, Any]]) -> str:
    """The categories as a Markdown table, "" where there is no general case."""
    if not found:
        return ""
    arms = [*found[0]["arms"]]
    asked = any(one["asked"] for one in found)
    kinds = KINDS if asked else KINDS[:1]
    head = ["category", "rows", *(["asked"] if asked else [])]
    head += [f"{kind}: {arm}" for kind in kinds for arm in arms]
    lines = [
        [plain(one["category"] or "–"), f"{one['n']:,}", *([f"{one['asked']:,}"] if asked else []),
         *(_cell(one["arms"].get(arm, {}).get(kind)) for kind in kinds for arm in arms)]
        for one in found
    ]  # fmt: skip
    return table(head, lines, numbers=len(head) - 1) + "\n"


def _numbers(side: pl.DataFrame) -> dict[str, float | None]:
    told = side.drop_nulls("loss_nats")
    nats, n_bytes = float(told["loss_nats"].sum()), int(told["n_bytes"].sum())
    pairs = side.drop_nulls("predicted").select("gold", "predicted").rows()
    right = [normal_text(gold) == normal_text(said) for gold, said in pairs]
    in_json = [is_json(said) for gold, said in pairs if not is_json(gold)]
    return {
        "bpb": round(nats / log(2) / n_bytes, 6) if n_bytes else None,
        "exact": share(right),
        "json": share(in_json),
    }


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
