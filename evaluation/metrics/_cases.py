"""What metrics read of cases: answers beside gold, answers to general rows, losses of gold."""

from typing import Literal

import polars as pl

Kind = Literal["task", "general"]
OF_TASK, OF_GENERAL = pl.col("kind") == "task", pl.col("kind") == "general"


def answer_pairs(cases: pl.DataFrame) -> list[tuple[str, str]]:
    """(gold, predicted) of each task case."""
    return cases.filter(OF_TASK).select("gold", "predicted").rows()


def general_pairs(cases: pl.DataFrame) -> list[tuple[str, str]]:
    """(gold, predicted) of the general cases that were answered: of most only the loss is known."""
    answered = cases.filter(OF_GENERAL & pl.col("predicted").is_not_null())
    return answered.select("gold", "predicted").rows()


def nats_per(cases: pl.DataFrame, kind: Kind, unit: str) -> float | None:
    """Loss of the gold answers in nats for each `n_bytes` or `n_tokens`; None without a loss."""
    told = cases.filter((pl.col("kind") == kind) & pl.col("loss_nats").is_not_null())
    size = int(told[unit].sum())
    return float(told["loss_nats"].sum()) / size if size else None


def share(held: list[bool]) -> float | None:
    """0 to 1, None of nothing."""
    return sum(held) / len(held) if held else None


def mean(values: list[float]) -> float | None:
    """The mean, None of nothing."""
    return sum(values) / len(values) if values else None
