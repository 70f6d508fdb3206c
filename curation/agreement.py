"""Agreement: how far reviewers say the same of the same rows beyond what chance would bring.

Two reviewers have Cohen's kappa; any number that all judged the same rows have Fleiss' kappa; and
where each judged only some, Krippendorff's alpha counts every row that at least two judged. All are
1 where reviewers always agree and 0 where they agree as often as chance. `None` means that nothing
can be said: no row in common, or one and the same verdict throughout, as chance would have it too.
Marks from 1 to 5 are ordered, and Krippendorff's ordinal alpha takes near ones for nearly agreed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import polars as pl

from curation.reviews import GOLD


def cohen_kappa(pairs: Iterable[tuple[str, str]]) -> float | None:
    """Kappa of two raters, each pair being what the one and the other said of a unit.

    (p_o - p_e) / (1 - p_e), where p_o is the share of units on which they agree and p_e the sum
    over the categories of the products of their shares (Cohen, Educational and Psychological
    Measurement 20, 1960).
    """
    counted = Counter(pairs)
    n = counted.total()
    if not n:
        return None
    first, second = Counter[str](), Counter[str]()
    for (one, other), times in counted.items():
        first[one] += times
        second[other] += times
    agreed = sum(times for (one, other), times in counted.items() if one == other) / n
    return _beyond(agreed, sum(first[name] * second[name] for name in first) / n**2)


def fleiss_kappa(units: Sequence[Mapping[str, int]]) -> float | None:
    """Kappa of any raters, each unit being how many of them chose each category.

    As Cohen's, with the mean share of agreeing pairs of raters in a unit for p_o, and the sum of
    the squared shares of the categories for p_e (Fleiss, Psychological Bulletin 76, 1971). Raises
    `ValueError` where units have different numbers of raters, or fewer than two.
    """
    sizes = {sum(unit.values()) for unit in units}
    if not units:
        return None
    if len(sizes) > 1 or min(sizes) < 2:  # noqa: PLR2004
        raise ValueError(f"units have {sorted(sizes)} raters; Fleiss' kappa needs as many for each")
    (n,) = sizes
    agreed = sum(m * (m - 1) for unit in units for m in unit.values()) / (n * (n - 1) * len(units))
    chosen = Counter[str]()
    for unit in units:
        chosen.update(unit)
    return _beyond(agreed, sum((m / (n * len(units))) ** 2 for m in chosen.values()))


def krippendorff_alpha(units: Iterable[Sequence[str]]) -> float | None:
    """Alpha of nominal values, each unit being all that was said of it by however many raters.

    1 - D_o / D_e of the coincidence matrix, into which a unit of m values enters each ordered pair
    of them with the weight 1 / (m - 1); units of one value do not count (Krippendorff, Computing
    Krippendorff's Alpha-Reliability, 2011, https://repository.upenn.edu/asc_papers/43).
    """
    agreed, values = 0.0, Counter[str]()
    for unit in units:
        if len(unit) > 1:
            counts = Counter(unit)
            agreed += sum(m * (m - 1) for m in counts.values()) / (len(unit) - 1)
            values.update(counts)
    n = values.total()
    if not n:
        return None
    return _beyond(agreed / n, sum(m * (m - 1) for m in values.values()) / (n * (n - 1)))


def ordinal_alpha(units: Iterable[Sequence[int]]) -> float | None:
    """Alpha of ordered values, each unit being all that was said of it by however many raters.

    As the nominal one, but each pair of values counts by its squared distance, which is how many
    values lie from the one to the other, the two ends by half (Krippendorff, as above).
    """
    units = [unit for unit in units if len(unit) > 1]
    counts = Counter(value for unit in units for value in unit)
    seen, below = {}, 0.0
    for value in sorted(counts):  # the middle of its values in the order of all
        seen[value] = below + counts[value] / 2
        below += counts[value]
    found = sum(_unlike([seen[value] for value in unit]) / (len(unit) - 1) for unit in units)
    chance = _unlike([seen[value] for value in counts.elements()])
    return 1 - found * (counts.total() - 1) / chance if chance else None


def compare_choices(choices: pl.DataFrame, answers: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """How far reviewers agree on which of two answers is better, as `compare_reviewers` says it.

    `choices` is that of `judgements.read_choices`; `answers` names the old and the new answer of
    each question that counts.
    """
    said = [
        (id, by, ("old", "new")[answers[id].index(better)] if better else choice)
        for id, by, choice, better in choices.iter_rows()
        if id in answers
    ]
    columns = {name: pl.String for name in ("row_id", "by", "verdict")}
    return compare_reviewers(pl.DataFrame(said, schema=columns, orient="row"))


def compare_marks(marks: pl.DataFrame, questions: Sequence[str]) -> list[dict[str, Any]]:
    """How far reviewers agree in each dimension: `questions` that two or more judged, and `alpha`.

    `marks` is that of `judgements.read_marks`; only these questions count.
    """
    grouped = (
        marks.filter(pl.col("question").is_in(list(questions)))
        .group_by("dimension", "question")
        .agg("mark")
        .filter(pl.col("mark").list.len() > 1)
        .sort("dimension", "question")
    )
    return [
        {
            "dimension": name,
            "questions": part.height,
            "alpha": ordinal_alpha(part["mark"].to_list()),
        }
        for (name,), part in grouped.group_by("dimension", maintain_order=True)
    ]


def compare_reviewers(said: pl.DataFrame) -> dict[str, Any]:
    """How far the reviewers of `SAID_SCHEMA` agree, and how often each was right on gold rows.

    `rows` are those that at least two judged; `fleiss` is taken of those among them that
    `fleiss_reviewers` judged, the commonest number. `pairs` has a line for each two reviewers with
    rows in common, `gold` one for each who judged gold rows.
    """
    people = said.filter(pl.col("by") != GOLD).sort("row_id", "by")
    grouped = people.group_by("row_id", maintain_order=True).agg("by", "verdict")
    several = grouped.filter(pl.col("by").list.len() > 1)
    units = several["verdict"].to_list()
    sizes = Counter(map(len, units))
    often = min(sizes, key=lambda size: (-sizes[size], -size), default=0)
    return {
        "reviewers": people["by"].n_unique(),
        "rows": len(units),
        "krippendorff": krippendorff_alpha(units),
        "fleiss": fleiss_kappa([Counter(unit) for unit in units if len(unit) == often]),
        "fleiss_reviewers": often,
        "pairs": _compare_pairs(several),
        "gold": measure_reviewers(said),
    }


def measure_reviewers(said: pl.DataFrame) -> list[dict[str, Any]]:
    """`by`, `rows` and `right` of each reviewer: of the gold rows he judged how many right."""
    known = said.filter(pl.col("by") == GOLD).select("row_id", right="verdict")
    judged = said.filter(pl.col("by") != GOLD).join(known, on="row_id")
    right = (pl.col("verdict") == pl.col("right")).sum()
    return judged.group_by("by").agg(rows=pl.len(), right=right).sort("by").to_dicts()


def _unlike(places: Sequence[float]) -> float:
    """The sum of the squared differences of all ordered pairs."""
    return 2 * (len(places) * sum(p * p for p in places) - sum(places) ** 2)


def _compare_pairs(several: pl.DataFrame) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for names, verdicts in several.select("by", "verdict").iter_rows():
        for (one, said), (other, reply) in combinations(zip(names, verdicts, strict=True), 2):
            found.setdefault((one, other), []).append((said, reply))
    return [
        {
            "reviewers": list(names),
            "rows": len(pairs),
            "agreed": sum(said == reply for said, reply in pairs),
            "cohen": cohen_kappa(pairs),
        }
        for names, pairs in sorted(found.items())
    ]


def _beyond(agreed: float, expected: float) -> float | None:
    """The share of agreement beyond chance that was reached; None where chance leaves no room."""
    return None if expected >= 1 else (agreed - expected) / (1 - expected)
