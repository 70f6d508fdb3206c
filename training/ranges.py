"""What a search may vary, and between which values: `lr=1e-4:1e-3:log`, `rank=8,16,32`.

What decides which rows are looked at (`validate`, `seed`, `max_tokens`) is not among them: losses
on other rows could not be held against one another.
"""

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from curation.plugins import nearest
from training.curriculum import Order
from training.methods import METHODS

FLOATS = ("lr", "epochs")
WHOLE = ("rank", "alpha", "batch_rows", "virtual_tokens")
WORDS = {
    "method": tuple(name for name, method in METHODS.items() if method.resumes),
    "order": get_args(Order),
}
SEARCHED = (*FLOATS, *WHOLE, *WORDS)
LOW_RANK = ("lora", "qlora", "dora")


def read_ranges(said: Sequence[str]) -> dict[str, Any]:
    """Option -> optuna distribution, from `NAME=LOW:HIGH`, `NAME=LOW:HIGH:log` or `NAME=A,B,C`.

    Raises `ValueError` for an option that cannot be searched and values that it cannot have.
    """
    ranges: dict[str, Any] = {}
    for one in said:
        name, equals, values = one.partition("=")
        if name not in SEARCHED:
            raise ValueError(f"{name!r} cannot be searched{nearest(name, SEARCHED)}")
        if not equals or name in ranges:
            trouble = "stands twice" if equals else "has no values"
            raise ValueError(f"{name!r} {trouble}; write it once, such as lr=1e-4:1e-3:log")
        ranges[name] = _interval(name, values) if ":" in values else _choices(name, values)
    return ranges


def usual_ranges(advised: Mapping[str, Any]) -> dict[str, Any]:
    """What is searched when nothing is named: the rate around the advised one, and the rank."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    lr = advised["lr"]
    ranges: dict[str, Any] = {"lr": FloatDistribution(lr / 5, lr * 5, log=True)}
    if advised["method"] in LOW_RANK:
        ranges["rank"] = CategoricalDistribution((8, 16, 32))
    return ranges


def grid_points(ranges: Mapping[str, Any], *, seed: int) -> list[dict[str, Any]]:
    """Every combination of listed values, in an order drawn by the seed.

    Raises `ValueError` for a range, whose values have no end, and where nothing is named.
    """
    from optuna.distributions import CategoricalDistribution

    if not ranges:
        raise ValueError("a grid needs to know of what: name options, such as rank=8,16,32")
    for name, values in ranges.items():
        if not isinstance(values, CategoricalDistribution):
            raise ValueError(f"a grid needs listed values: {name}=A,B,C in place of a range")
    listed = itertools.product(*(values.choices for values in ranges.values()))
    points = [dict(zip(ranges, point, strict=True)) for point in listed]
    random.Random(seed).shuffle(points)
    return points


def _interval(name: str, said: str) -> Any:
    from optuna.distributions import FloatDistribution, IntDistribution

    low, high, *scale = said.split(":")
    if name in WORDS or scale not in ([], ["log"]):
        raise ValueError(f"{name}={said!r} is not LOW:HIGH, LOW:HIGH:log or a list A,B,C")
    first, last = _value(name, low), _value(name, high)
    if first >= last:
        raise ValueError(f"{name}={said!r}: {low} is not below {high}")
    kind = FloatDistribution if name in FLOATS else IntDistribution
    return kind(first, last, log=bool(scale))


def _choices(name: str, said: str) -> Any:
    from optuna.distributions import CategoricalDistribution

    return CategoricalDistribution(tuple(_value(name, part) for part in said.split(",")))


def _value(name: str, said: str) -> Any:
    """One value, of the option's type; a number must be above zero."""
    if name in WORDS:
        if said not in WORDS[name]:
            raise ValueError(f"{name} cannot be {said!r}{nearest(said, WORDS[name])}")
        return said
    try:
        value = float(said) if name in FLOATS else int(said)
    except ValueError:
        value = 0
    if not 0 < value < math.inf:
        kind = "a number" if name in FLOATS else "a whole number"
        raise ValueError(f"{name} must be {kind} above zero, not {said!r}")
    return value
