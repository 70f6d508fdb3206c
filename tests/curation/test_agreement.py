"""Agreement of reviewers, by the worked examples that its formulas were published with."""

from collections import Counter
from typing import Any

import polars as pl
import pytest

from curation.agreement import (
    cohen_kappa,
    compare_reviewers,
    fleiss_kappa,
    krippendorff_alpha,
    ordinal_alpha,
)
from curation.reviews import SAID_SCHEMA

FLEISS = [
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
]  # fmt: skip
KRIPPENDORFF = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]


def square(yes_yes: int, yes_no: int, no_yes: int, no_no: int) -> list[tuple[str, str]]:
    pairs = [("y", "y"), ("y", "n"), ("n", "y"), ("n", "n")]
    return [
        p for p, n in zip(pairs, (yes_yes, yes_no, no_yes, no_no), strict=True) for _ in [0] * n
    ]


@pytest.mark.parametrize(
    ("counts", "kappa"),
    [((20, 5, 10, 15), 0.4), ((45, 15, 25, 15), 0.1304), ((25, 35, 5, 35), 0.2593)],
)
def test_cohens_kappa_of_published_examples(counts, kappa):
    assert cohen_kappa(square(*counts)) == pytest.approx(kappa, abs=5e-5)


def test_fleiss_kappa_of_ten_subjects_and_fourteen_raters():
    units = [dict(enumerate(line)) for line in FLEISS]
    named = [{str(name): n for name, n in unit.items()} for unit in units]
    assert fleiss_kappa(named) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_kappa_wants_as_many_raters_for_each_unit():
    with pytest.raises(ValueError, match=r"units have \[2, 3\] raters"):
        fleiss_kappa([{"accept": 2}, {"accept": 1, "reject": 2}])


def test_krippendorffs_alpha_of_his_own_example_with_missing_values():
    units = [[value for value in unit if value != "."] for unit in zip(*KRIPPENDORFF, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)
    two = zip("0100000010", "1110010000", strict=True)
    assert krippendorff_alpha([*map("".join, two)]) == pytest.approx(0.095, abs=5e-4)


def test_the_ordinal_alpha_of_the_same_example_and_of_its_definition():
    units = [[int(v) for v in unit if v != "."] for unit in zip(*KRIPPENDORFF, strict=True)]
    assert ordinal_alpha(units) == pytest.approx(0.815, abs=5e-4)
    near, far = [[1, 2], [2, 3], [4, 5], [3, 4]], [[1, 4], [2, 5], [4, 1], [3, 3]]
    assert (ordinal_alpha(near) or 0) > 0.5 > 0 > (ordinal_alpha(far) or 0)
    assert ordinal_alpha([[1, 1], [5, 5], [3]]) == 1.0
    assert ordinal_alpha([[4], [5]]) is ordinal_alpha([[4, 4], [4, 4]]) is ordinal_alpha([]) is None


def test_nothing_is_said_where_nothing_is_in_common_or_all_is_one_verdict():
    assert cohen_kappa([]) is cohen_kappa([("a", "a")] * 9) is None
    assert fleiss_kappa([]) is fleiss_kappa([{"a": 3}]) is None
    assert krippendorff_alpha([["a"], ["b"]]) is krippendorff_alpha([["a", "a"]]) is None


def test_reviewers_are_compared_on_what_they_share_and_measured_on_gold():
    said = {
        "甲": "aaaarrrr",
        "乙": "aaarrrr.",
        "gold": "ar......",
        "reviewer-2": "......ar",
        "alone": "a.......",
    }
    words = {"a": "accept", "r": "reject"}
    lines = [
        {"row_id": f"{i:032x}", "by": by, "verdict": words[one]}
        for by, all_said in said.items()
        for i, one in enumerate(all_said)
        if one != "."
    ]
    found = compare_reviewers(_said(lines))
    assert (found["reviewers"], found["rows"], found["fleiss_reviewers"]) == (4, 8, 2)
    both = {tuple(pair["reviewers"]): pair for pair in found["pairs"]}
    assert both["乙", "甲"]["rows"] == 7 and both["乙", "甲"]["agreed"] == 6
    assert both["乙", "甲"]["cohen"] == cohen_kappa(zip("aaarrrr", "aaaarrr", strict=True))
    assert both["reviewer-2", "甲"] == {
        "reviewers": ["reviewer-2", "甲"],
        "rows": 2,
        "agreed": 1,
        "cohen": 0.0,
    }
    assert found["gold"] == [
        {"by": "alone", "rows": 1, "right": 1},
        {"by": "乙", "rows": 2, "right": 1},
        {"by": "甲", "rows": 2, "right": 1},
    ]
    units = [[s[i] for by, s in said.items() if by != "gold" and s[i] != "."] for i in range(8)]
    assert found["krippendorff"] == krippendorff_alpha(units)
    twos = [Counter(unit) for unit in units if len(unit) == 2]
    assert found["fleiss"] == fleiss_kappa(twos)


def test_before_anybody_said_anything_there_is_nothing_to_compare():
    found = compare_reviewers(_said([]))
    assert (found["rows"], found["krippendorff"], found["fleiss"]) == (0, None, None)


def _said(lines: list[dict[str, Any]]) -> pl.DataFrame:
    empty = dict.fromkeys(SAID_SCHEMA, "")
    return pl.DataFrame([empty | line for line in lines], schema=SAID_SCHEMA)
