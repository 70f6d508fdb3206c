"""What is said of a run follows from its numbers, and names them."""

from typing import Any

import pytest

from training.diagnose import diagnose


def history(
    loss: list[float], domain: list[float] | None = None, general: list[float] | None = None
) -> list[dict[str, Any]]:
    """A run of these losses; looks stand at evenly spaced steps, the last included."""
    steps: list[dict[str, Any]] = [{"step": n, "loss": v} for n, v in enumerate(loss, 1)]
    for name, values in (("eval_domain_loss", domain), ("eval_general_loss", general)):
        for place, value in enumerate(values or ()):
            at = (place + 1) * len(loss) // len(values or ())
            steps[at - 1][name] = value
    return steps


FALLS = [2.0 - n / 100 for n in range(100)]  # to 1.01

TABLE = {
    "healthy": (history(FALLS, [1.5, 1.2, 1.19], [1.0, 1.0, 1.01]), "nothing unusual"),
    "nan": (history([2.0, float("nan"), 1.0]), "diverged: the loss became nan"),
    "rises": (history(FALLS[::-1]), "diverged: the loss rose from 1.05"),
    "turned": (
        history(FALLS, [1.5, 1.2, 1.4]),
        "overfit: the domain loss was lowest, 1.200, at step 66 and ended at 1.400",
    ),
    "gap": (
        history(FALLS, [1.8, 1.75, 1.74]),
        "overfit: rows looked at cost 1.740, trained ones 1.05",
    ),
    "forgets": (
        history(FALLS, [1.5, 1.2, 1.19], [1.0, 1.1, 1.3]),
        "forgetting: the general loss rose from 1.000 to 1.300",
    ),
    "still falls": (
        history(FALLS, [1.5, 1.3, 1.1]),
        "underfit: the domain loss still fell, from 1.300 to 1.100",
    ),
    "learns nothing": (history([2.0] * 100), "underfit: the loss went from 2.000 to 2.000"),
    "short": (history(FALLS[:20]), "too few steps: 20 of the optimizer"),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_finding_follows_from_the_numbers(name: str) -> None:
    steps, said = TABLE[name]
    findings = diagnose(steps)
    assert findings[0].startswith(said) and len(findings) == 1


@pytest.mark.parametrize(("general", "said"), [(700, "nothing"), (3_000, "imbalance: 3,000")])
def test_a_domain_that_drowns_is_said(general: int, said: str) -> None:
    findings = diagnose(history(FALLS, [1.2, 1.19]), rows={"general": general, "domain": 100})
    assert findings[0].startswith(said)


def test_the_most_serious_comes_first() -> None:
    steps = history(FALLS[:20], [1.5, 1.2, 1.4], [1.0, 1.1, 1.3])
    kinds = [finding.partition(":")[0] for finding in diagnose(steps)]
    assert kinds == ["overfit", "forgetting", "too few steps"]
