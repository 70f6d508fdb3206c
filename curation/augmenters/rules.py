"""Augmenter `rules`: rows aimed at the errors without a language model, offline and repeatable.

Each learn-half bad case enters as its corrected row, and gets variants by the quota of its error
type: other values of the same kind, the bad case's sentence frame around what seeds ask for, other
numbers, opposites, synonyms, fillers. Everything it knows comes from the seeds, the bad cases and
small word files; what the traffic's sentences look like it learns from bad cases alone.
"""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from curation.augmenters._base import Augmented, AugmentWork
from curation.augmenters._templates import (
    FOR_CASES,
    FOR_SEEDS,
    Case,
    Change,
    Pool,
    Words,
    build_pool,
    read_case,
)
from curation.plugins import nearest, plugin
from curation.rows import ANSWER, UTTERANCE, canonical_json, dialogue, digest, make_row, row_id
from curation.tasks._base import Task
from curation.unsafe_text import unsafe_reason

# Long digit runs, addresses, template marks, one thing said over and over, UTF-8 read as Latin-1.
_UNFIT = re.compile(r"[0-9]{7}|@|://|<\||(.)\1{3}|(..+)\2\2|[À-ÿ].{0,3}[À-ÿ]")
_TRIES = 6  # proposals for each row wanted, before a parent counts as exhausted


@plugin()
def rules(
    *,
    per_case: int = 6,
    per_seed: int = 0,
    seed: int = 0,
    max_chars: int = 120,
    synonyms: Path | None = None,
    vocabulary: Path | None = None,
) -> Callable[[AugmentWork], Augmented]:
    """Up to `per_case` variants a bad case within its error type's quota, `per_seed` a seed.

    `synonyms` is a YAML file with `synonyms` and `contrasts` (lists of lines of words) and
    `fillers`; `vocabulary` a YAML list of lines of slot values that may replace each other. Parents
    that the task refuses, that contradict each other or are longer than `max_chars` are not
    widened. Raises `ValueError` for a word file of another form.
    """
    words = _read_words(synonyms, vocabulary)

    def augment(work: AugmentWork) -> Augmented:
        book = _Book(work.task, seed)
        book.known.update(work.seeds["id"])
        seeds = _read_seeds(work, max_chars)
        for case in seeds:
            book.answers[case.prompt] = work.task.canonical(canonical_json(case.fields))
        cases = _correct(work, book, max_chars)
        pool = build_pool(seeds, [case for case, _ in cases], words)
        for case, quota in _share(work, cases, per_case):
            _widen(book, case, quota, FOR_CASES, (pool, words), kind="augment_badcase")
        for case in seeds:
            _widen(book, case, per_seed, FOR_SEEDS, (pool, words), kind="augment_seed")
        work.report(f"rules: {len(book.rows)} rows made, {len(book.rejected)} proposals refused")
        usage = {"proposals": float(book.proposed), "cost_usd": 0.0}
        return Augmented(book.rows, book.edges, book.rejected, usage, book.proposed)

    return augment


@dataclass
class _Book:
    """What has been made so far, and what a further row may not repeat or contradict."""

    task: Task
    seed: int
    rows: list[dict] = field(default_factory=list)
    edges: list[dict] = field(default_factory=list)
    rejected: list[dict] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    answers: dict[str, str] = field(default_factory=dict)
    proposed: int = 0

    def add(self, prompt: str, answer: str, *, parent: str, kind: str, how: str, key: str) -> bool:
        """Take the row if it is valid and new; a refusal is written down with its reason."""
        self.proposed += 1
        call = digest({"augmenter": "rules", "how": how, "parent": parent, "key": key})
        turns = dialogue(prompt, answer, system=self.task.part(prompt, answer)[1].system)
        origin = "badcase" if kind == "fix" else "transform"
        reason = self._refusal(prompt, answer)
        reason = reason or ("known" if row_id(turns) in self.known else "")
        if reason:
            self.rejected.append({"text": prompt, "reason": reason, "call": call})
            return False
        row = make_row(turns, origin=origin, source="rules", created_by=call, meta={"how": how})
        self.known.add(row["id"])
        self.answers[prompt] = self.task.canonical(answer)
        self.rows.append(row)
        self.edges.append({"child": row["id"], "parent": parent, "kind": kind, "call": call})
        return True

    def _refusal(self, prompt: str, answer: str) -> str:
        if _UNFIT.search(prompt):
            return "unfit_text"
        reason = unsafe_reason(f"{prompt}\n{answer}") or self.task.check(prompt, answer)
        if reason:
            return reason.split("=")[0]
        before = self.answers.get(prompt)
        return "" if before in (None, self.task.canonical(answer)) else "label_conflict"


def _read_seeds(work: AugmentWork, max_chars: int) -> list[Case]:
    """Seeds worth widening, sorted by id: valid, clean, and of one mind about their prompt."""
    asked = work.seeds.select("id", prompt=UTTERANCE, answer=ANSWER).sort("id")
    answers: dict[str, set[str]] = defaultdict(set)
    for row in asked.iter_rows(named=True):
        answers[row["prompt"]].add(work.task.canonical(row["answer"]))
    read = (
        read_case(row["id"], row["prompt"], row["answer"], closed=work.task.closed)
        for row in asked.iter_rows(named=True)
        if len(answers[row["prompt"]]) == 1
        and len(row["prompt"]) <= max_chars
        and not _UNFIT.search(row["prompt"])
        and not work.task.check(row["prompt"], row["answer"])
    )
    return [case for case in read if case]


def _correct(work: AugmentWork, book: _Book, max_chars: int) -> list[tuple[Case, str]]:
    """Each bad case as its corrected row; returns those that can be widened, with their error."""
    found = []
    for bad in work.bad_cases.sort("id").iter_rows(named=True):
        prompt, gold = bad["prompt"], bad["gold"]
        new = book.add(prompt, gold, parent=bad["id"], kind="fix", how="correct", key="")
        known = not new and book.rejected[-1]["reason"] == "known"
        case = read_case(bad["row_id"], prompt, gold, closed=work.task.closed)
        if case and (new or known) and len(prompt) <= max_chars:
            found.append((case, bad["signature"]))
    return found


def _share(
    work: AugmentWork, cases: Iterable[tuple[Case, str]], per_case: int
) -> Iterator[tuple[Case, int]]:
    """Each case with the rows it should get: an even share of its type's quota, up to per_case."""
    by_type: dict[str, list[Case]] = defaultdict(list)
    for case, signature in cases:
        by_type[signature].append(case)
    quotas = dict(work.error_types.select("signature", "quota").iter_rows())
    for signature in sorted(by_type):
        held = by_type[signature]
        quota = quotas.get(signature, per_case * len(held))
        for number, case in enumerate(held):
            share = quota // len(held) + (number < quota % len(held))
            yield case, min(per_case, share)


def _widen(
    book: _Book,
    case: Case,
    wanted: int,
    changes: Sequence[Change],
    material: tuple[Pool, Words],
    *,
    kind: str,
) -> None:
    """Add up to `wanted` variants; try number n of a parent depends on (seed, parent, n)."""
    made = 0
    for number in range(wanted * _TRIES):
        if made == wanted:
            return
        key = f"{book.seed}:{case.parent}:{number}"
        change = changes[number % len(changes)]
        proposal = change(case, *material, random.Random(key))
        if proposal:
            how = change.__name__
            made += book.add(*proposal, parent=case.parent, kind=kind, how=how, key=key)


def _read_words(synonyms: Path | None, vocabulary: Path | None) -> Words:
    given = _read_yaml(synonyms, {})
    known = ("synonyms", "contrasts", "fillers")
    if not isinstance(given, dict):
        raise ValueError(f"{synonyms} holds no mapping with {', '.join(known)}")
    for name in given:
        if name not in known:
            raise ValueError(f"{synonyms}: unknown key {name!r}{nearest(name, known)}")
    lines = {name: given.get(name) or [] for name in known[:2]}
    lines["vocabulary"] = _read_yaml(vocabulary, [])
    for name, held in lines.items():
        _check_lines(f"{vocabulary if name == 'vocabulary' else synonyms}: {name}", held)
    if any(len(line) != 2 for line in lines["contrasts"]):  # noqa: PLR2004
        raise ValueError(f"{synonyms}: a line of contrasts is two words")
    return Words(**lines, fillers=given.get("fillers") or [])


def _read_yaml(path: Path | None, empty: Any) -> Any:
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or empty) if path else empty


def _check_lines(where: str, lines: Any) -> None:
    if not isinstance(lines, list) or not all(isinstance(line, list) for line in lines):
        raise ValueError(f"{where} is a list of lists of words, got {lines!r}")
    odd = [word for line in lines for word in line if not isinstance(word, str)]
    if odd:
        raise ValueError(f"{where}: {odd[0]!r} is not text; put it in quotes")
