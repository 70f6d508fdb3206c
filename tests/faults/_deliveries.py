"""Bad cases that arrive all the time: only those whose command ended with exit code 0 count."""

import json
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from subprocess import TimeoutExpired
from typing import Any

from curation.sources.grammar import grammar
from tests.faults._project import ROOT, Site

GRAMMAR = ROOT / "pipelines" / "recipes" / "in_car" / "grammar.yaml"
Case = tuple[str, str, str]  # prompt, gold, predicted
PAUSE_S = 6.0
KILLED_SHARE = 0.15  # of the commands; their cases are delivered again


@dataclass
class Deliveries:
    """A thread that delivers two new cases every few seconds, and now and then a known one."""

    site: Site
    seed: int
    acknowledged: list[Case] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    commands: int = 0
    killed: int = 0

    def __post_init__(self) -> None:
        self._rng = random.Random(f"deliveries {self.seed}")
        self._cases = draw_cases(self.seed)
        self._waiting: list[Case] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No delivery begins after this, and the last one has ended."""
        self._stop.set()
        self._thread.join()

    def deliver(self, *, may_die: bool = False) -> None:
        """One command with two new cases; killed ones stay at the head of the queue."""
        while len(self._waiting) < 2:  # noqa: PLR2004
            self._waiting.append(next(self._cases))
        again = self.acknowledged and self._rng.random() < 0.25
        batch = [*self._waiting, *([self._rng.choice(self.acknowledged)] if again else [])]
        if self._acknowledged(batch, dies=may_die and self._rng.random() < KILLED_SHARE):
            self.acknowledged += self._waiting
            self._waiting = []

    def _work(self) -> None:
        while not self._stop.is_set():
            self.deliver(may_die=True)
            self._stop.wait(PAUSE_S * self._rng.uniform(0.5, 1.5))

    def _acknowledged(self, batch: list[Case], *, dies: bool) -> bool:
        self.commands += 1
        file = self.site.folder / "t" / f"cases{self.commands}.jsonl"
        file.write_text("".join(_line(case) for case in batch), encoding="utf-8")
        with self.site.start_winnow("bad-cases", "add", str(file)) as process:
            try:
                _, err = process.communicate(timeout=self._rng.uniform(0.4, 1.6) if dies else 120)
            except TimeoutExpired:
                process.kill()
                _, err = process.communicate()
                self.killed += 1
                return False
        if process.returncode:
            self.broken.append(f"exit code {process.returncode}: {err.strip()[-300:]}")
        return process.returncode == 0


REFUSED = "Sorry?"
"""What the model said where the right answer is one that the task must refuse."""


def draw_cases(seed: int) -> Iterator[Case]:
    """Cases without end: in-car orders, English names, answers that the task must refuse."""
    rng = random.Random(f"cases {seed}")
    orders = grammar(path=GRAMMAR, rows=2000, seed=seed, folds=4, fold=2)()
    exam = grammar(path=GRAMMAR, rows=10, seed=2, folds=4, fold=0)()  # the recipe's test source
    for number, record in enumerate(orders):
        if number % 12 == 5:  # noqa: PLR2004
            song = f"Song {number}{rng.choice([' of the Road', ' for You', ''])}"
            yield f"播放{song}", _gold("播放", song), "{}"
        elif number % 12 == 8:  # noqa: PLR2004
            yield f"打开Radio {number}", _gold("打开", "天窗"), REFUSED  # names what nobody said
        elif number % 12 == 11 and (leak := next(exam, None)):  # noqa: PLR2004
            yield _case(leak.data)
        else:
            yield _case(record.data)


def _case(data: Any) -> Case:
    prompt, answer = (turn["content"] for turn in data["messages"][-2:])
    return prompt, answer, "好的"


def _gold(do: str, what: str) -> str:
    return json.dumps({"actions": [{"do": do, "what": what}]}, ensure_ascii=False)


def _line(case: Case) -> str:
    named = dict(zip(("prompt", "gold", "predicted"), case, strict=True))
    return json.dumps(named, ensure_ascii=False) + "\n"
