"""Accounts: what entered a step and what left it, by source, small enough to stand in a manifest.

A tally is a count of rows and the sum of their ids mod 2^128 for each source, so one lost row
beside one doubled shows. Tallies add up: a step that only looks at changed rows corrects the
account it had, and the accounts of a whole graph can be checked against each other without reading
a single row.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from curation.runs import SLICE
from curation.store import Version

Tally = dict[str, list[Any]]
"""source -> [rows, sum of ids in hex]; the sum is "" for records that never got an id."""

_MODULUS = 2**128
GO_ON = ("new", "train", "heldout", "test", "made", "kept")
"""Labels of rows that another step takes; rows of any other label end where they are."""


@dataclass(frozen=True)
class Account:
    """`entered` and `left` by label; a label of `entered` such as `rows/train` names what left an
    upstream step, one without a slash is what began here."""

    entered: Mapping[str, Tally]
    left: Mapping[str, Tally]

    @classmethod
    def read(cls, version: Version) -> "Account | None":
        """The account in a version's manifest, or None where the step keeps none."""
        said = version.values.get("account")
        return cls(said["entered"], said["left"]) if said else None

    def to_dict(self) -> dict[str, Any]:
        """The form that stands in a manifest: labels and sources sorted, empty ones left out."""
        return {"entered": _tidy(self.entered), "left": _tidy(self.left)}

    def corrected(self, minus: "Account", plus: "Account") -> "Account":
        """The account when `minus` of what it covers became `plus`, label by label."""
        return Account(
            _correct(self.entered, minus.entered, plus.entered),
            _correct(self.left, minus.left, plus.left),
        )

    def problems(self) -> list[str]:
        """One line for each source whose rows do not add up; none when all is well."""
        came, went = add_tallies(*self.entered.values()), add_tallies(*self.left.values())
        counted = {s for tally in self.entered.values() for s, (_, ids) in tally.items() if not ids}
        return [
            f"source {source!r}: {_show(came, source)} entered, {_show(went, source)} left"
            for source in sorted(came.keys() | went.keys())
            if came.get(source, _NONE)[: 1 if source in counted else 2]
            != went.get(source, _NONE)[: 1 if source in counted else 2]
        ]

    def line(self) -> str:
        """`1,204 in = 900 kept + 304 merged`, over all sources."""
        parts = [f"{count_rows(t):,} {label}" for label, t in self.left.items() if count_rows(t)]
        entered = sum(count_rows(t) for t in self.entered.values())
        return f"{entered:,} in = " + (" + ".join(parts) or "0")


_NONE = [0, "0" * 32]


def tally_rows(rows: pl.DataFrame) -> Tally:
    """The tally of a frame with `id` and `source`; raises `ValueError` for an id that is none."""
    parts = rows.select("id", "source").iter_slices(SLICE)  # what is in between is memory
    return dict(sorted(add_tallies(*map(_tally, parts)).items()))


def _tally(rows: pl.DataFrame) -> Tally:
    odd = rows.filter(~pl.col("id").str.contains("^[0-9a-f]{32}$").fill_null(False))
    if not odd.is_empty():
        raise ValueError(f"the id {odd['id'][0]!r} is not 32 hex digits")
    limbs = [pl.col("id").str.slice(i, 8).str.to_integer(base=16) for i in (0, 8, 16, 24)]
    sums = [limb.sum().alias(str(i)) for i, limb in enumerate(limbs)]
    found = rows.group_by("source").agg(pl.len().alias("n"), *sums)
    return {
        line["source"]: [
            line["n"],
            _hex(sum(line[str(i)] << (96 - 32 * i) for i in range(4))),
        ]
        for line in found.iter_rows(named=True)
    }


def count_records(source: str, n: int) -> Tally:
    """The tally of `n` records without ids."""
    return {source: [n, ""]}


def add_tallies(*tallies: Tally) -> Tally:
    """Their sum, source by source."""
    total: Tally = {}
    for tally in tallies:
        for source, (n, ids) in tally.items():
            known = total.get(source, [0, ids and _NONE[1]])
            both = bool(ids or known[1])
            sums = int(known[1] or "0", 16) + int(ids or "0", 16)
            total[source] = [known[0] + n, _hex(sums) if both else ""]
    return total


def subtract_tally(tally: Tally, part: Tally) -> Tally:
    """What is left of a tally without a part of it."""
    minus = {source: [-n, ids and _hex(-int(ids, 16))] for source, (n, ids) in part.items()}
    return add_tallies(tally, minus)


def count_rows(tally: Tally) -> int:
    """Rows of all sources."""
    return sum(n for n, _ in tally.values())


@dataclass(frozen=True)
class Link:
    """One thing proven, or not: that a step adds up, or that it got what the step before gave."""

    step: str
    holds: bool
    line: str


def prove_chain(version: Version) -> list[Link]:
    """Every account upstream of a version checked in itself, by its rows and by those it took from.

    Of a training set, and what was made from one, also that some step took every row that went on.
    Only manifests are read. Nearest to the sources first.
    """
    links = [link for step in _upstream(version) for link in _prove_step(step)]
    last = {"": version, **version.upstream()}
    trained = next((v for v in last.values() if v.name.endswith("/training_set")), None)
    return links + (list(_prove_taken(trained)) if trained else [])


def _prove_taken(last: Version) -> Iterator[Link]:
    """One link for each step and label of rows that go on: whether another step took them.

    A step stays that took them from a version before which said the same.
    """
    steps = [last, *last.upstream().values()]
    accounts = {step.key: account for step in steps if (account := Account.read(step))}
    taken: set[tuple[str, str, str]] = set()
    for step in steps:
        for label in accounts[step.key].entered if step.key in accounts else ():
            upstream, _, part = label.rpartition("/")
            if upstream:
                given = step.input(upstream)
                taken.add((given.name, given.data_version, part))
    for step in reversed(steps[1:]):
        left = accounts[step.key].left if step.key in accounts else {}
        for label in (label for label in GO_ON if count_rows(left.get(label, {}))):
            holds = (step.name, step.data_version, label) in taken
            name = step.name.partition("/")[2]
            said = "taken by the next step" if holds else "no step took them"
            yield Link(name, holds, f"{count_rows(left[label]):,} rows ({label}): {said}")


def _prove_step(version: Version) -> Iterator[Link]:
    account = Account.read(version)
    if account is None:
        return
    step = version.name.partition("/")[2]
    wrong = account.problems()
    yield Link(step, not wrong, "; ".join(wrong) or account.line())
    going, rows = [label for label in account.left if label in GO_ON], version.tables.get("rows")
    if rows and not wrong and (going or "fates" in version.tables):
        said = sum(count_rows(account.left[label]) for label in going)
        there = f"{said:,} rows go on, {rows['rows']:,} lie in its table"
        yield Link(step, said == rows["rows"], there)
    for label, tally in account.entered.items():
        upstream, _, part = label.rpartition("/")
        if not upstream:
            continue
        given = Account.read(version.input(upstream))
        same = given is not None and _bare(given.left.get(part, {})) == _bare(tally)
        said = "all of it" if same else "not what it gave"
        yield Link(step, same, f"{count_rows(tally):,} rows from {upstream} ({part}): {said}")


def _upstream(version: Version) -> list[Version]:
    """A version and all it was made from, each once, sources first."""
    found: dict[str, Version] = {}

    def visit(one: Version) -> None:
        if one.key in found:
            return
        for name in one.manifest["inputs"]:
            visit(one.input(name))
        found[one.key] = one

    visit(version)
    return list(found.values())


def _correct(
    tallies: Mapping[str, Tally], minus: Mapping[str, Tally], plus: Mapping[str, Tally]
) -> dict[str, Tally]:
    labels = dict.fromkeys([*tallies, *minus, *plus])
    return {
        label: add_tallies(
            subtract_tally(tallies.get(label, {}), minus.get(label, {})), plus.get(label, {})
        )
        for label in labels
    }


def _bare(tally: Tally) -> Tally:
    return {source: line for source, line in tally.items() if line[0]}


def _tidy(tallies: Mapping[str, Tally]) -> dict[str, Tally]:
    return {label: dict(sorted(_bare(t).items())) for label, t in tallies.items() if _bare(t)}


def _show(tally: Tally, source: str) -> str:
    n, ids = tally.get(source, _NONE)
    return f"{n:,} rows (ids {ids[:8]}…)"


def _hex(number: int) -> str:
    return f"{number % _MODULUS:032x}"
