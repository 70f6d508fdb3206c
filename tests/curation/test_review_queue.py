"""The review queue: what is asked about, why, in what order, and of how many reviewers."""

from typing import Any

import polars as pl
import pytest

from curation.dedup import CONFLICT_SCHEMA
from curation.review_queue import QUEUE_SCHEMA, Material, build_queue
from curation.review_samples import GROUP_SCHEMA, draw_groups, sample_groups
from curation.reviews import SAID_SCHEMA
from curation.rows import digest

IDS = [digest(["行", n]) for n in range(400)]
RULE = "perplexity < 300 or track = 'general'"


def rows(ids: list[str] = IDS, *, group: str = "source seeds", new: bool = False) -> pl.DataFrame:
    lines = [{"id": i, "group": group, "new": new, "kept": True} for i in ids]
    return pl.DataFrame(lines, schema=GROUP_SCHEMA)


def says(*said: tuple[str, str, str]) -> pl.DataFrame:
    empty: dict[str, Any] = dict.fromkeys(SAID_SCHEMA, "")
    lines = [empty | {"row_id": i, "verdict": v, "by": by} for i, v, by in said]
    return pl.DataFrame(lines, schema=SAID_SCHEMA)


def why(queue: pl.DataFrame) -> dict[str, int]:
    return dict(queue["why"].value_counts().iter_rows())


def conflict(*ids: str) -> pl.DataFrame:
    line = {"split": "train", "prompt": "打开窗", "ids": [*ids], "answers": [*"ABC"[: len(ids)]]}
    return pl.DataFrame([line], schema=CONFLICT_SCHEMA)


def test_rows_nearest_a_threshold_come_first_from_both_sides_and_say_the_rule():
    scores = pl.DataFrame({"id": IDS, "perplexity": [float(n) for n in range(100, 500)]})
    material = Material(rows(), scores, [RULE, "not refusal", "semantic_copy < 0.95"])
    queue = build_queue(material, says(), size=10, random_share=0, gold_share=0)
    assert queue.schema == QUEUE_SCHEMA and why(queue) == {"borderline": 10}
    assert {*queue["value"]} == {float(n) for n in range(295, 305)}
    assert {*queue["detail"]} == {RULE} and {*queue["threshold"]} == {300.0}
    assert queue["value"].to_list()[:2] in ([299, 300], [300, 299], [300, 301])


def test_of_two_scales_the_share_of_rows_between_counts_and_not_the_distance():
    wide = [n * 1000.0 for n in range(400)]
    scores = pl.DataFrame({"id": IDS, "wide": wide, "narrow_q": [n / 400 for n in range(400)]})
    material = Material(rows(), scores, ["wide < 99500", "narrow_q > 0.74875"])
    queue = build_queue(material, says(), size=20, random_share=0)
    assert {*queue["id"]} == {*IDS[95:105], *IDS[295:305]}
    assert dict(queue["detail"].value_counts().iter_rows()) == dict.fromkeys(material.rules, 10)


def test_a_row_without_a_score_is_not_borderline():
    scores = pl.DataFrame({"id": IDS, "perplexity": [None] * 399 + [299.0]})
    queue = build_queue(Material(rows(), scores, [RULE]), says(), size=5, random_share=0)
    assert queue.filter(why="borderline")["id"].to_list() == [IDS[399]]


def test_conflicts_and_ties_want_one_more_reviewer_and_leave_when_they_are_settled():
    a, b, c, d = IDS[:4]
    material = Material(rows(), conflicts=conflict(a, b))
    said = says((c, "accept", "甲"), (c, "reject", "B"), (d, "reject", "甲"))
    queue = build_queue(material, said, size=20)
    first, second = queue.filter(pl.col("why").is_in(["tie", "label_conflict"])).to_dicts()
    assert (first["id"], first["why"], first["wanted"]) == (min(a, b), "label_conflict", 1)
    assert (second["id"], second["why"], second["wanted"]) == (c, "tie", 3)
    more = says((c, "accept", "甲"), (c, "reject", "B"), (c, "reject", "丙"), (b, "reject", "甲"))
    assert {*why(build_queue(material, more, size=20))} == {"random"}


def test_of_a_new_error_type_so_many_rows_are_asked_for_as_its_plan_needs():
    new = rows(IDS[:100], group="wrong_value:actions.what", new=True)
    material = Material(pl.concat([new, rows(IDS[100:])]))
    drawn = next(iter(draw_groups(new)))["id"].to_list()
    queue = build_queue(material, says(), random_share=0)
    asked = queue.filter(why="new_type")
    assert asked["id"].to_list() == drawn[:29]
    assert {*asked["detail"]} == {"wrong_value:actions.what"}
    said = [(i, "accept", "甲") for i in drawn[:28]]
    queue = build_queue(material, says(*said, (drawn[28], "reject", "甲")), overlap=0)
    assert queue.filter(why="new_type")["id"].to_list() == drawn[29:46]
    said += [(i, "accept", "甲") for i in drawn[28:29]]
    assert "new_type" not in why(build_queue(material, says(*said), overlap=0))


def test_only_drawn_rows_count_as_a_sample_of_their_group():
    drawn = next(iter(draw_groups(rows())))["id"].to_list()
    doubtful = says(*((i, "reject", "甲") for i in drawn[61:80]))
    (line,) = sample_groups(rows(), doubtful)
    assert (line["group"], line["looked"], line["state"]) == ("source seeds", 0, "more")
    (line,) = sample_groups(rows(), says(*((i, "accept", "甲") for i in drawn[:29])))
    assert (line["looked"], line["good"], line["state"]) == (29, 29, "passed")


def test_random_and_gold_rows_stand_evenly_among_the_others():
    scores = pl.DataFrame({"id": IDS, "perplexity": [float(n) for n in range(400)]})
    gold = says(*((i, "accept", "gold") for i in IDS[300:330]))
    queue = build_queue(Material(rows(), scores, [RULE]), gold, size=100, overlap=0)
    assert why(queue) == {"borderline": 80, "random": 10, "gold": 10}
    for part in (queue[:50], queue[50:]):
        assert why(part) == {"borderline": 40, "random": 5, "gold": 5}
    assert queue.filter(why="gold")["wanted"].to_list() == [None] * 10
    assert {*queue.filter(why="random")["wanted"]} == {1}
    assert queue["id"].is_unique().all()


def test_the_queue_follows_from_rows_verdicts_and_seed_and_not_from_their_order():
    scores = pl.DataFrame({"id": IDS, "perplexity": [float(n % 7) for n in range(400)]})
    material = Material(rows(), scores, ["perplexity < 3"], conflict(*IDS[:3]))
    said = says(*((i, "accept", "gold") for i in IDS[300:330]), (IDS[9], "reject", "甲"))
    turned = Material(rows()[::-1], scores[::-1], material.rules, material.conflicts)
    queue = build_queue(material, said, size=60)
    assert queue.equals(build_queue(turned, said[::-1], size=60))
    assert not queue.equals(build_queue(material, said, size=60, seed=1))


def test_a_tenth_of_the_rows_is_asked_of_two_reviewers_and_then_of_no_more():
    queue = build_queue(Material(rows()), says(), size=400)
    twice = queue.filter(wanted=2)["id"].to_list()
    assert 20 <= len(twice) <= 60 and {*queue["wanted"]} == {1, 2}
    once = says(*((i, "accept", "甲") for i in IDS))
    again = build_queue(Material(rows()), once, size=400)
    assert {*again["id"]} == {*twice}
    both = says(*((i, "accept", by) for i in IDS for by in ("甲", "B")))
    assert build_queue(Material(rows()), both, size=400).is_empty()


@pytest.mark.parametrize(
    "shares", [{"random_share": -0.1}, {"gold_share": 0.7, "random_share": 0.4}]
)
def test_shares_that_leave_no_room_are_refused(shares):
    with pytest.raises(ValueError, match="shares of a queue"):
        build_queue(Material(rows()), says(), **shares)


def test_nothing_is_asked_where_nothing_is():
    assert build_queue(Material(rows([])), says()).is_empty()
