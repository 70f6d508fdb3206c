"""What a preference run came to, in numbers and in words."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from curation.pairs import HELD, TRAINED

Numbers = Mapping[str, float | None]
FEW_HELD = 30
"""Held pairs below which their share says little: of 30 the standard error is nine points."""
KNOWN = 0.9
"""Share of pairs in the right order before the run from which there is little to prefer."""
UNEVEN = 0.1
"""Difference in length, as a share, from which it is said."""


def compare_pairs(nats: pl.DataFrame, chosen: pl.Series) -> dict[str, float | None]:
    """Of the pairs `chosen`: `order`, the share whose right answer is the likelier; `margin`, by
    how many nats on the mean; and the mean `right` and `wrong` nats of an answer. Null for no pair.

    `nats` has chosen and rejected, those of the whole right and wrong answer.
    """
    some = nats.filter(chosen).rename({"chosen": "right", "rejected": "wrong"})
    gain = pl.col("wrong") - pl.col("right")
    return some.select(
        (gain > 0).mean().alias("order"),
        gain.mean().alias("margin"),
        pl.col("right", "wrong").mean(),
    ).row(0, named=True)


def say_findings(told: Mapping[str, Any], compared: Mapping[str, Any]) -> list[str]:
    """What whoever reads the numbers should know, with the numbers behind it."""
    parts = [part for part, count in ((TRAINED, "n_pairs"), (HELD, "n_held")) if told[count]]
    found = [_say_part(part, compared["before"][part], compared["after"][part]) for part in parts]
    known = compared["before"][TRAINED]["order"]
    if known is not None and known > KNOWN:
        found.append(
            "supervised training had learned these pairs already: there is little left to prefer, "
            "and other answers may suffer (docs/log.md)"
        )
    if told["n_held"] < FEW_HELD:
        found.append(f"{told['n_held']} held pairs are few: their share says little")
    right, wrong = told["tokens"]["chosen"], told["tokens"]["rejected"]
    if abs(right - wrong) > UNEVEN * max(right, wrong):
        longer = "longer" if right > wrong else "shorter"
        found.append(
            f"right answers are {longer} ({right:.1f} tokens on the mean, wrong ones {wrong:.1f}): "
            "DPO also learns the length (Park et al. 2024)"
        )
    was, now = (compared[when][TRAINED]["right"] for when in ("before", "after"))
    if was is not None and now is not None and now > was:
        found.append(
            f"the right answers became less likely, too ({was:.2f} nats each before, {now:.2f} "
            "after; Razin et al. 2024): raise sft_weight or lower lr"
        )
    return found


def _say_part(part: str, before: Numbers, after: Numbers) -> str:
    return (
        f"right order in {part} pairs: {before['order']:.0%} before, {after['order']:.0%} after; "
        f"margin {before['margin']:.2f} -> {after['margin']:.2f} nats"
    )
