"""Topics are drawn as evenly as asked, in Chinese and in English, and all else of the mix holds."""

import math
import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.fates import require_conservation
from curation.line import Line
from curation.mix import count_topics, mix_tracks
from curation.rows import dialogue, make_row, rows_frame
from curation.scorers._base import ScoreContext
from curation.scorers.semantic_copy import semantic_copy
from curation.semantic import assign_topics, fit_topics
from curation.tasks.free_text import free_text
from curation.vectors import unpack_vectors


def rows_of(*topics):
    """General rows of such topics: (number or None, rows) or (number, rows, category)."""
    frames = []
    for number, n, *category in topics:
        kind = "".join(category)
        texts = (f"{number} {kind} {('问题', 'question')[i % 2]} {i}" for i in range(n))
        labels = [(dialogue(text, "答"), "general", kind) for text in texts]
        made = rows_frame(make_row(turns, track=t, category=c) for turns, t, c in labels)
        frames.append(made.with_columns(topic=pl.lit(number, pl.Int32)))
    return pl.concat(frames).sort("id")


def ours(n):
    made = rows_frame(make_row(dialogue(f"打开车窗{i}", "好的")) for i in range(n))
    return made.with_columns(topic=pl.lit(0, pl.Int32))


def draw(general, n, **options):
    """`n` general rows as the mix draws them."""
    mixed = mix_tracks(pl.concat([general, ours(1)]), general=n, **options)
    return mixed.rows.filter(pl.col("track") == "general")


def sizes(rows):
    return dict(rows.group_by("topic").len().iter_rows())


TOPICS = [(0, 1600), (1, 400), (2, 100), (3, 25)]
LARGE = rows_of(*TOPICS)


@pytest.mark.parametrize("spread", [0.25, 0.5, 0.75])
def test_a_topic_of_n_rows_is_drawn_in_proportion_to_n_to_the_power_of_1_less_spread(spread):
    drawn = sizes(draw(LARGE, 100, spread=spread))
    powers = [n ** (1 - spread) for _, n in TOPICS]
    for (topic, _), power in zip(TOPICS, powers, strict=True):
        assert drawn[topic] == pytest.approx(100 * power / sum(powers), abs=2)


def test_at_one_there_are_as_many_of_each_topic_while_it_has_rows():
    drawn = sizes(draw(LARGE, 80, spread=1.0))
    assert all(n == pytest.approx(20, abs=2) for n in drawn.values())
    drawn = sizes(draw(LARGE, 425, spread=1.0))
    assert drawn[3] == 25 and drawn[2] == 100  # which are all of them
    assert drawn[0] == pytest.approx(drawn[1], abs=4)


def test_without_a_spread_topics_count_nothing():
    plain = draw(LARGE, 300)
    assert plain.drop("topic").equals(
        mix_tracks(pl.concat([LARGE, ours(1)]).drop("topic"), general=300)
        .rows.filter(pl.col("track") == "general")
    )  # fmt: skip
    assert not draw(LARGE, 300, spread=0.01).equals(plain)


@pytest.mark.parametrize("spread", [0.5, 1.0])
def test_a_pool_that_grows_by_a_twentieth_keeps_most_of_the_choice(spread):
    topics = [(t, int(2_000 / (t + 1) ** 1.3) + 5, "ab"[t % 2]) for t in range(60)]
    grown = [(t, math.ceil(n * 1.05), c) for t, n, c in topics]
    before, after = (draw(rows_of(*some), 900, spread=spread) for some in (topics, grown))
    assert before.join(after, on="id", how="semi").height / before.height >= 0.93


@given(st.sampled_from([0.3, 1.0]), st.integers(1, 2_124), st.sampled_from([{}, {"b": 0.4}]))
def test_the_front_of_the_line_is_that_of_the_whole_line(spread, few, floors):
    rows = LARGE.with_columns(category=pl.when(pl.col("id") < "3").then(pl.lit("b")))
    options = {"spread": spread, "floors": floors}
    whole = Line(rows, "", **options).take(0, rows.height)
    assert whole.n_unique() == rows.height
    line = Line(rows, "", **options)
    assert line.take(0, few // 2).equals(whole[: few // 2])
    assert line.take(few // 2, few).equals(whole[few // 2 : few // 2 + few])


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("wanted", [100, 400, 1200])
def test_a_floor_holds_also_where_small_topics_run_out_of_rows(spread, wanted):
    small = [(10 + t, 4, "safety") for t in range(15)]
    rows = rows_of((0, 3000, "qa"), (0, 60, "safety"), (1, 900, "qa"), (1, 40, "safety"), *small)
    drawn = draw(rows, wanted, spread=spread, floors={"safety": 0.12})
    safety = drawn.filter(category="safety").height
    assert drawn.height == wanted and safety >= 0.12 * wanted - 1


def test_a_category_that_is_thin_in_every_topic_keeps_its_share():
    """Two of eighty rows in each of many topics: half of them stay, not none and not all."""
    rows = rows_of(*((t, n, c) for t in range(80) for n, c in ((78, "qa"), (2, "诗"))))
    drawn = draw(rows, 1600, spread=1.0)
    assert drawn.filter(category="诗").height == pytest.approx(1600 * 2 / 80, abs=15)


def test_rows_without_a_topic_are_as_good_as_one_more_topic():
    rows = rows_of((0, 900), (1, 90), (None, 300))
    drawn = sizes(draw(rows, 90, spread=1.0))
    assert all(n == pytest.approx(30, abs=2) for n in drawn.values()) and None in drawn
    assert draw(rows, rows.height, spread=1.0).height == rows.height


@given(st.integers(1, 30), st.sampled_from([0.5, 1.0]))
def test_the_ratio_is_exact_and_every_row_has_a_fate(n_domain, spread):
    rows = pl.concat([LARGE, ours(n_domain)])
    mixed = mix_tracks(rows, spread=spread)
    assert mixed.ratio == 7
    require_conservation(rows, mixed.judge(rows))
    assert mix_tracks(rows.reverse(), spread=spread).rows.equals(mixed.rows)


@pytest.mark.parametrize("spread", [-0.1, 1.1, math.nan])
def test_a_spread_that_is_none_is_refused(spread):
    with pytest.raises(ValueError, match="not between 0"):
        draw(LARGE, 10, spread=spread)


def test_rows_without_topics_are_refused():
    with pytest.raises(ValueError, match=r"a spread of 0.5 draws by topic, .* have no 'topic'"):
        mix_tracks(pl.concat([LARGE, ours(1)]).drop("topic"), spread=0.5)


def test_the_effective_number_of_topics_is_that_of_as_many_of_one_size():
    even = rows_of((0, 50), (1, 50), (None, 50))
    assert count_topics(even) == {"topics": 3, "effective": 3.0}
    assert count_topics(rows_of((0, 990), (1, 10)))["effective"] == pytest.approx(1.06, abs=0.01)
    assert count_topics(even.clear()) == {"topics": 0, "effective": 0.0}


HUGE = [
    "写一篇关于{}的作文",
    "帮我翻译一句话：{}很好",
    "Write an essay about {}",
    "Translate this: {} is fine",
]
SMALL = [
    "{}怎么做才好吃", "{}的首都在哪里", "解方程{}等于七", "{}的股票今天涨了吗", "怎样治疗{}感冒",
    "从{}坐几路车去机场", "{}这个成语是什么意思", "推荐一部像{}的电影", "How do I cook {} well",
    "Which river runs through {}", "Solve {} plus seven", "Is the price of {} rising today",
    "What helps against {} pain", "Which bus goes from {} to the airport",
    "Where does the saying {} come from", "Name a film that is like {}",
]  # fmt: skip
HAN, LATIN = "春夏秋冬山水花鸟风雨雷电日月星辰江河湖海松竹梅兰", "abcdefghiklmnoprstuvwy"


def asked_rows():
    """Rows of four huge topics and sixteen small ones, half of them Chinese; `form` says which."""
    draws, frames = random.Random(7), []
    for number, form in enumerate([*HUGE, *SMALL]):
        letters, k = (LATIN, 4) if form.isascii() else (HAN, 2)
        words = {"".join(draws.choices(letters, k=k)) for _ in range(400 if form in HUGE else 8)}
        texts = [form.format(word) for word in sorted(words)]
        answer = "Yes." if form.isascii() else "好的。"
        made = rows_frame(make_row(dialogue(text, answer), track="general") for text in texts)
        frames.append(made.with_columns(form=pl.lit(number)))
    return pl.concat(frames).sort("id")


def similarity(vectors):
    """The mean cosine of two different rows."""
    units = unpack_vectors(vectors).astype(float)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    return (np.square(units.sum(axis=0)).sum() - len(units)) / (len(units) * (len(units) - 1))


def test_more_topics_come_in_and_rows_are_less_alike_in_both_languages():
    rows = asked_rows()
    vectors = semantic_copy().sign(rows, ScoreContext(free_text(), pl.DataFrame()))["vector"]
    topics = assign_topics(vectors, fit_topics(vectors, topics=30))
    placed = rows.with_columns(topic=topics.cast(pl.Int32))
    seen = rows.select("id", "form").with_columns(vector=vectors)
    forms, alike, even = [], [], []
    for spread in (0.0, 0.5, 1.0):
        drawn = draw(placed.drop("form"), 100, spread=spread)
        told = drawn.select("id", "lang").join(seen, on="id")
        forms.append(dict(told.group_by("lang").agg(pl.col("form").n_unique()).iter_rows()))
        alike.append(similarity(told["vector"]))
        even.append(count_topics(drawn)["effective"])
    assert forms[0]["zh"] <= 6 and forms[0]["en"] <= 6
    assert min(*forms[1].values(), *forms[2].values()) >= 8  # of ten
    assert alike[0] > alike[1] > alike[2] and even[0] < even[1] < even[2]
