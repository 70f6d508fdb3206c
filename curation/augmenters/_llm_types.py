"""Error types while rows are written against them: what is asked, what comes of it, when to end."""

from collections import Counter
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import polars as pl

from curation.augmenters._base import AugmentWork
from curation.error_types import NO_GAIN, SAMPLE_FAILED
from curation.rows import digest

CASES, EXAMPLES, REASONS = 5, 4, 5
"""Shown in one call."""
ERROR_TYPE, CATEGORY = "error_type", "category"
"""What rows are written against, or of."""
LESSON = ("cause", "trigger", "rule")
COUNTED = ("quota", "calls", "proposed", "repeated", "made")


@dataclass(frozen=True)
class Limits:
    """When a type gets no further call; `look_first` says who looks at its first rows."""

    per_type: int
    min_yield: float
    min_novelty: float
    look_first: str
    min_accepted: float


@dataclass
class OpenType:
    """An error type, or a category of seeds, while its quota is being filled."""

    signature: str
    lesson: dict[str, str]  # name, name_zh and of LESSON what is known
    quota: int
    cases: list[dict[str, Any]]
    kind: str = ERROR_TYPE
    made: int = 0
    calls: int = 0
    asked: int = 0
    offered: int = 0  # rows of the last call
    proposed: int = 0
    repeated: int = 0
    shown: list[dict[str, Any]] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)
    covered: set[str] = field(default_factory=set)
    first: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    stopped: str = ""
    waits: str = ""
    waiting: int = 0  # rows that people have to accept one by one

    @property
    def is_open(self) -> bool:
        """Whether it may get another call."""
        return not self.stopped and not self.waits and self.made < self.quota

    def next_turn(self, examples: list[dict[str, Any]], per_call: int) -> None:
        """Choose what the next call shows: cases that none showed first, and other examples."""
        self.calls += 1
        self.asked = min(per_call, ceil((self.quota - self.made) * 1.25))
        salt = f"{self.signature}\0{self.calls}"
        new = [case for case in self.cases if case["id"] not in self.covered]
        old = [case for case in self.cases if case["id"] in self.covered]
        shown = turn_of(new, salt, CASES)
        self.shown = shown + turn_of(old, salt, CASES - len(shown))
        self.examples = turn_of(examples, salt, EXAMPLES)

    def judge_call(self, good: int, repeated: int, limits: Limits) -> str:
        """Why the type stops after a call of which `good` rows stayed, "" when it goes on."""
        offered = self.offered
        if self.made >= self.quota:
            return ""
        if repeated > (1 - limits.min_novelty) * offered:
            self.stopped = f"{offered - repeated} of {offered} rows new"
        elif good < limits.min_yield * max(offered, 1):
            self.stopped = f"{good} of {offered} rows valid"
        return self.stopped

    def look_at_first(self, verdicts: dict[str, tuple[str, str]], limits: Limits) -> str:
        """Why no more is bought after the first call, where people look at its rows, or "".

        What they said of rows that they rejected goes into the next call.
        """
        if limits.look_first != "people" or self.calls > 1 or not self.first:
            return ""
        said = [verdicts[i] for i in self.first if i in verdicts]
        if open_ones := len(self.first) - len(said):
            self.waits = f"waits for verdicts on {open_ones} of its first {len(self.first)} rows"
            return self.waits
        refused = [reason for verdict, reason in said if verdict == "reject"]
        self.reasons.update(f"people: {reason or 'rejected'}"[:80] for reason in refused)
        accepted = len(said) - len(refused)
        if accepted < limits.min_accepted * len(said):
            self.stopped = f"people accepted {accepted} of its first {len(said)} rows"
        return self.stopped

    def told(self, language: str) -> dict[str, str]:
        """The name in a language and what else is known, for a prompt."""
        name = self.lesson["name_zh" if language == "zh" else "name"]
        rest = {key: self.lesson[key] for key in LESSON if self.lesson.get(key)}
        return {self.kind: name, **rest}

    def line(self) -> dict[str, Any]:
        """What became of it, for the table `types`."""
        lesson = {key: self.lesson.get(key, "") for key in ("name", "name_zh", *LESSON)}
        numbers = {name: getattr(self, name) for name in COUNTED}
        said = self.stopped or self.waits
        said += f", {self.waiting} rows wait for verdicts" if self.waiting else ""
        return {
            "signature": self.signature,
            **lesson,
            **numbers,
            "stopped": said,
        }


def open_types(work: AugmentWork, per_type: int) -> list[OpenType]:
    """The types with a quota and with cases to show, by signature."""
    cases = work.bad_cases.sort("id").partition_by("signature", as_dict=True)
    types = work.error_types.sort("signature").iter_rows(named=True)
    return [_open(t, cases[(t["signature"],)], per_type)
            for t in types if t["quota"] > 0 and (t["signature"],) in cases]  # fmt: skip


def _open(said: dict[str, Any], cases: pl.DataFrame, per_type: int) -> OpenType:
    lesson = {"name": said["name"], "name_zh": said.get("name_zh") or said["name"]}
    stopped = said["stopped"] if said.get("stopped") in (NO_GAIN, SAMPLE_FAILED) else ""
    quota = min(said["quota"], per_type)
    return OpenType(said["signature"], lesson, quota, cases.to_dicts(), stopped=stopped)


def turn_of(things: list[dict[str, Any]], salt: str, count: int) -> list[dict[str, Any]]:
    """`count` of the things, others for each salt, the same for the same salt."""
    return sorted(things, key=lambda thing: digest([salt, thing["id"]]))[:count]
