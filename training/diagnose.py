"""What a run's numbers say in words: did it learn, too little, too much, at whose cost.

Each finding names the numbers behind it, and what is usually done about it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

RISE = 0.05
"""Share by which a loss must move to be spoken of: a run's own steps differ by about that much."""

GAP = 0.5
"""Share by which rows that are looked at may cost more than trained ones before it is overfitting.
"""

FEW_STEPS = 50


def diagnose(
    history: Sequence[Mapping[str, Any]], *, rows: Mapping[str, int] | None = None
) -> list[str]:
    """Findings in words, the most serious first; "nothing unusual" where there is none.

    `history` is `training.watch.read_history`'s, `rows` the number of trained rows of each track.
    """
    if diverged := _diverged(history):
        return diverged
    findings = [
        *_overfit(history),
        *_forgets(history),
        *_underfit(history),
        *_few_steps(history),
        *_imbalance(rows or {}),
    ]
    return findings or ["nothing unusual"]


def _diverged(history: Sequence[Mapping[str, Any]]) -> list[str]:
    loss = _series(history, "loss")
    broken = [value for value in loss if not value < float("inf")]  # NaN is not below either
    if broken:
        return [f"diverged: the loss became {broken[0]}; lower lr, or warm up for longer"]
    if len(loss) > 1 and _end(loss) > _start(loss) * (1 + RISE):
        said = f"the loss rose from {_start(loss):.3f} to {_end(loss):.3f}"
        return [f"diverged: {said}; lower lr"]
    return []


def _overfit(history: Sequence[Mapping[str, Any]]) -> list[str]:
    loss, domain = _series(history, "loss"), _series(history, "eval_domain_loss")
    if len(domain) < 2:  # noqa: PLR2004
        return []
    if domain[-1] > min(domain) * (1 + RISE):
        step = _steps(history, "eval_domain_loss")[domain.index(min(domain))]
        said = f"the domain loss was lowest, {min(domain):.3f}, at step {step}"
        return [f"overfit: {said} and ended at {domain[-1]:.3f}; fewer epochs, or more rows"]
    if domain[-1] > _end(loss) * (1 + GAP):
        said = f"rows looked at cost {domain[-1]:.3f}, trained ones {_end(loss):.3f}"
        return [f"overfit: {said}; more rows, or fewer epochs"]
    return []


def _forgets(history: Sequence[Mapping[str, Any]]) -> list[str]:
    general = _series(history, "eval_general_loss")
    if len(general) < 2 or general[-1] <= min(general) * (1 + RISE):  # noqa: PLR2004
        return []
    said = f"the general loss rose from {min(general):.3f} to {general[-1]:.3f}"
    return [f"forgetting: {said}; more general rows in the mix, or a lower lr"]


def _underfit(history: Sequence[Mapping[str, Any]]) -> list[str]:
    loss, domain = _series(history, "loss"), _series(history, "eval_domain_loss")
    if len(domain) > 1 and domain[-1] < domain[-2] * (1 - RISE):
        said = f"the domain loss still fell, from {domain[-2]:.3f} to {domain[-1]:.3f}"
        return [f"underfit: {said}; more epochs"]
    if not domain and len(loss) >= FEW_STEPS and _end(loss) > _start(loss) * (1 - RISE):
        said = f"the loss went from {_start(loss):.3f} to {_end(loss):.3f}"
        return [f"underfit: {said}; a higher lr, or a method that changes more"]
    return []


def _few_steps(history: Sequence[Mapping[str, Any]]) -> list[str]:
    steps = len(_series(history, "loss"))
    if not 0 < steps < FEW_STEPS:
        return []
    return [f"too few steps: {steps} of the optimizer; more epochs, or smaller batches"]


def _imbalance(rows: Mapping[str, int]) -> list[str]:
    domain, general = rows.get("domain", 0), rows.get("general", 0)
    if not domain or not general or general <= 20 * domain:
        return []
    said = f"{general:,} general rows to {domain:,} of the domain"
    return [f"imbalance: {said}; lower mix.general, or make more domain rows"]


def _series(history: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(step[name]) for step in history if name in step]


def _steps(history: Sequence[Mapping[str, Any]], name: str) -> list[int]:
    return [int(step["step"]) for step in history if name in step]


def _start(loss: Sequence[float]) -> float:
    return _mean(loss[: _tenth(loss)])


def _end(loss: Sequence[float]) -> float:
    return _mean(loss[-_tenth(loss) :])


def _tenth(loss: Sequence[float]) -> int:
    return max(1, len(loss) // 10)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)
