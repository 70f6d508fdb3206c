"""What a preference run came to, in numbers and in words."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from curation.pairs import TRAINED
from training.pair_tokens import KNOWN

Numbers = Mapping[str, float | None]
FEW_HELD = 30
"""Held pairs below which their share says little: of 30 the standard error is nine points."""
UNEVEN = 0.1
"""Difference in length, as a share, from which it is said."""


def compare_pairs(tokens: pl.DataFrame, when: str) -> dict[str, dict[str, float]]:
    """For each part of the pairs (trained, held, known): `order`, the share whose right answer is
    the likelier; `margin`, by how many nats on the mean; and the mean `right` and `wrong` nats.

    `tokens` has chosen_`when` and rejected_`when`, the nats of whole answers; null is not counted.
    """
    right, wrong = pl.col(f"chosen_{when}"), pl.col(f"rejected_{when}")
    part = pl.when(pl.col("reason") == KNOWN).then(pl.lit(KNOWN)).otherwise("part")
    numbers = tokens.drop_nulls([f"chosen_{when}", f"rejected_{when}"]).group_by(
        part=part, maintain_order=True
    )
    told = numbers.agg(
        order=(wrong > right).mean(),
        margin=(wrong - right).mean(),
        right=right.mean(),
        wrong=wrong.mean(),
    )
    return {row.pop("part"): row for row in told.sort("part").to_dicts()}


def say_findings(told: Mapping[str, Any]) -> list[str]:
    """What whoever reads the numbers of a run should know, with the numbers behind it."""
    before, after = told["before"], told["after"]
    found = [_say_part(part, before[part], after[part]) for part in before]
    if told["n_held"] < FEW_HELD:
        found.append(f"{told['n_held']} held pairs are few: their share says little")
    right, wrong = told["tokens"]["chosen"], told["tokens"]["rejected"]
    if abs(right - wrong) > UNEVEN * max(right, wrong):
        longer = "longer" if right > wrong else "shorter"
        found.append(
            f"right answers are {longer} ({right:.1f} tokens on the mean, wrong ones {wrong:.1f}): "
            "DPO also learns the length (Park et al. 2024)"
        )
    was, now = (told[when][TRAINED]["right"] for when in ("before", "after"))
    if now > was:
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
