"""Semantic copies: what is found, what never is, and that the order of arrival says nothing."""

import json
import math
import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.rows import dialogue, make_row, rows_frame
from curation.scorers._base import ScoreContext
from curation.scorers.semantic_copy import semantic_copy
from curation.semantic import COPY_SCHEMA, assign_topics, fit_topics, semantic_copies
from curation.tasks.json_slots import json_slots
from curation.vectors import pack_vectors, quantise, unpack_vectors

TASK = json_slots(fields=["actions"], slots={"actions": ["do", "what", "when"]}, grounded=False)
WHATS = {
    "zh": ("空调", "天窗", "座椅加热", "后排阅读灯", "车载音乐", "除雾"),
    "en": ("air conditioning", "sunroof", "seat heating", "reading light", "music", "defroster"),
}
SAID = {
    "zh": "明天早上{when}把主驾驶这边的{what}打开",
    "en": "tomorrow morning at {when} turn on the {what} for the driver",
}
PLANTED = {
    ("zh", "order"): "把主驾驶这边的{what}打开，明天早上{when}",
    ("zh", "polite"): "麻烦你明天早上{when}把主驾驶这边的{what}打开，谢谢",
    ("zh", "synonym"): "明早{when}帮我开启主驾驶一侧的{what}",
    ("en", "order"): "turn on the {what} for the driver at {when} tomorrow morning",
    (
        "en",
        "polite",
    ): "please turn on the {what} for the driver at {when} tomorrow morning, thanks",
    ("en", "synonym"): "start the {what} on the driver's side early tomorrow, {when}",
}
WHENS = {"zh": ("六点", "七点", "八点", "九点"), "en": ("six", "seven", "eight", "nine")}
FOUND = {
    ("zh", "order"): 1.0,
    ("zh", "polite"): 1.0,
    ("zh", "synonym"): 0.0,
    ("en", "order"): 1.0,
    ("en", "polite"): 1.0,
    ("en", "synonym"): 0.0,
}
"""Share of the planted paraphrases that hashed vectors find at .75 among labelled rows."""


def command(text: str, **slots: str) -> dict:
    answer = json.dumps({"actions": [{"do": "打开", **slots}]}, ensure_ascii=False)
    return make_row(dialogue(text, answer))


def talk(text: str, answer: str = "好的。", **labels: str) -> dict:
    return make_row(dialogue(text, answer), **{"track": "general", **labels})  # type: ignore[arg-type]


def compare(
    *rows: dict, similarity: float = 0.75, topics: int = 1, templates: tuple[str, ...] = ()
) -> dict[str, float]:
    """The value of each row, by the text of its prompt."""
    frame = rows_frame(rows)
    scorer = semantic_copy(similarity=similarity)
    signed = scorer.sign(frame, ScoreContext(TASK, frame, templates=templates))
    placed = frame.select("id", "origin", "split", "track").join(signed, on="id")
    topic = assign_topics(placed["vector"], fit_topics(placed["vector"], topics=topics))
    found = semantic_copies(placed.with_columns(topic=topic), similarity=similarity)
    prompts = {row["id"]: row["messages"][0]["content"] for row in rows}
    return {prompts[i]: value for i, value in found.select("id", "value").iter_rows()}


@pytest.mark.parametrize("planted", PLANTED, ids=" ".join)
def test_planted_paraphrases_are_found_at_the_stated_rate(planted):
    lang = planted[0]
    slots = [{"what": what, "when": when} for what in WHATS[lang] for when in WHENS[lang]]
    said = [[form.format(**one) for form in (SAID[lang], PLANTED[planted])] for one in slots]
    pairs = zip(said, slots, strict=True)
    values = compare(*(command(text, **one) for both, one in pairs for text in both))
    found = [max(values[first], values[second]) >= 0.75 for first, second in said]
    assert sum(found) / len(found) == FOUND[planted]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("把主驾驶这边的空调打开", "把主驾驶这边的空调关闭"),
        ("空调的温度帮我调到26度", "空调的温度帮我调到18度"),
        ("please turn on the reading light", "please turn off the reading light"),
        ("set the temperature to 26 degrees", "set the temperature to 18 degrees"),
    ],
)
def test_other_numbers_and_opposites_are_never_compared(one: str, other: str):
    assert compare(talk(one), talk(other), similarity=0.1) == {one: 0.0, other: 0.0}


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_labelled_rows_with_other_slots_are_never_compared(lang: str):
    rows = [
        command(SAID[lang].format(what=what, when=when), what=what, when=when)
        for what in WHATS[lang]
        for when in WHENS[lang]
    ]
    assert set(compare(*rows, similarity=0.1).values()) == {0.0}


def test_only_rows_of_one_split_track_and_context_are_compared():
    text, again = "给我讲一个关于大象的睡前故事", "给我讲一个关于大象的睡前故事吧"
    assert max(compare(talk(text), talk(again)).values()) > 0.75
    system = make_row(dialogue(again, "好的。", system="你是诗人。"), track="general")
    others = (talk(again, split="test"), talk(again, track="domain"), system)
    assert all(max(compare(talk(text), other).values()) == 0.0 for other in others)


REVIEW = "判断下面这条评价是夸奖还是批评，只回答两个字，不要解释：{text}"
REVIEW_EN = "Is this review kind or unkind? Answer in one word, please: {text}"


@pytest.mark.parametrize(
    ("template", "one", "other", "again"),
    [
        (REVIEW, "屏幕的颜色很漂亮", "客服的态度挺友善", "屏幕的颜色很漂亮呢"),
        (REVIEW_EN, "such a bright screen", "the seller was kind", "really such a bright screen"),
    ],
)
def test_prompts_of_a_template_are_compared_by_what_fills_it(template, one, other, again):
    first, second, near = (talk(template.format(text=text)) for text in (one, other, again))
    assert max(compare(first, second).values()) > 0.7
    assert max(compare(first, second, templates=(template,)).values()) < 0.3
    assert max(compare(first, near, templates=(template,)).values()) > 0.7


def test_the_better_row_stays():
    text, again = "给我讲一个关于大象的睡前故事", "给我讲一个关于大象的睡前故事吧"
    for made, human in ((text, again), (again, text)):
        values = compare(talk(made, origin="llm"), talk(human, origin="human"))
        assert values[human] == 0.0 and values[made] > 0.75


def placed(vectors, *, origins=("import",), groups=1) -> pl.DataFrame:
    """Rows with these vectors, the first the best of each origin."""
    return pl.DataFrame(
        {
            "id": [f"{i:03}" for i in range(len(vectors))],
            "origin": [origins[i % len(origins)] for i in range(len(vectors))],
            "split": "train",
            "track": "general",
            "says": pl.Series([i % groups for i in range(len(vectors))], dtype=pl.UInt64),
            "topic": 0,
            "vector": pack_vectors(quantise(np.array(vectors, dtype=float))),
        }
    )


def test_a_row_goes_only_for_one_that_stays_and_nothing_chains():
    angles = (0.0, 0.3, 0.6)  # each is near the next one, and the first is far from the last
    rows = placed([(math.cos(a), math.sin(a)) for a in angles])
    found = semantic_copies(rows, similarity=0.95)
    assert found["into"].to_list() == ["", "000", ""]
    assert found["value"].to_list() == pytest.approx([0.0, math.cos(0.3), math.cos(0.6)], abs=1e-3)


def by_hand(rows: pl.DataFrame, similarity: float) -> pl.DataFrame:
    """The same in whole numbers of Python, one pair at a time."""
    order = {"import": 1, "llm": 4}
    ranked = sorted(rows.to_dicts(), key=lambda r: (order[r["origin"]], r["id"]))
    stay, found = [], []
    for row in ranked:
        alike = [o for o in stay if row["vector"] and o["vector"] and o["says"] == row["says"]]
        near = [(cosine(row, other), other["id"]) for other in alike]
        best = max(near, key=lambda n: n[0], default=(0.0, ""))
        goes = round(best[0], 4) >= similarity
        found.append((row["id"], max(0.0, round(best[0], 4)), best[1] if goes else ""))
        stay += [] if goes else [row]
    return pl.DataFrame(found, schema=COPY_SCHEMA, orient="row").sort("id")


def cosine(row: dict, other: dict) -> float:
    a, b = (memoryview(one["vector"]).cast("h").tolist() for one in (row, other))
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / (math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b)))


@given(
    st.lists(st.tuples(*[st.integers(-2, 2)] * 3), max_size=40),
    st.integers(1, 3),
    st.sampled_from([0.5, 0.7, 0.95, 1.0]),
    st.randoms(),
)
def test_it_is_what_comparing_pair_by_pair_in_any_order_gives(vectors, groups, similarity, order):
    vectors = vectors or [(1, 0, 0)]
    rows = placed(vectors, origins=("llm", "import"), groups=groups)
    shuffled = rows.sample(fraction=1, shuffle=True, seed=order.randrange(2**32))
    found = semantic_copies(shuffled, similarity=similarity)
    assert found.equals(by_hand(rows, similarity))


def test_many_rows_are_compared_as_few_are():
    """More than are compared at once, nearest ones far apart in rank."""
    draw = np.random.default_rng(1)
    few = draw.normal(size=(700, 24))
    vectors = np.concatenate([few, few[::-1] + draw.normal(size=few.shape) * 0.05])
    rows = placed(vectors)
    found = semantic_copies(rows, similarity=0.95)
    assert found.equals(by_hand(rows, 0.95))
    assert found.filter(pl.col("into") != "").height > 600


def test_a_row_without_a_vector_has_no_copy():
    found = semantic_copies(placed([(0, 0), (0, 0), (1, 1)]), similarity=0.5)
    assert found["value"].to_list() == [0.0, 0.0, 0.0]
    assert semantic_copies(placed([(0, 0)]).clear(), similarity=0.5).schema == COPY_SCHEMA


def test_topics_part_what_lies_apart_and_are_the_same_each_time():
    draw, angles = random.Random(5), (0.2, 1.8, 3.4)
    begin = [0.0, 2.0, 3.2]  # at the edges of what they are topics of
    points = [*begin, *(a + draw.uniform(-0.2, 0.2) for _ in range(60) for a in angles)]
    vectors = pack_vectors(quantise(np.array([(math.cos(a), math.sin(a)) for a in points])))
    topics = fit_topics(vectors, topics=3)
    found = assign_topics(vectors, topics)
    assert [found[i::3].n_unique() for i in range(3)] == [1, 1, 1] and found.n_unique() == 3
    middles = unpack_vectors(topics["vector"])
    assert [math.atan2(y, x) % 6.2 for x, y in middles] == pytest.approx(angles, abs=0.1)
    assert topics.equals(fit_topics(vectors, topics=3))


def test_there_are_no_more_topics_than_vectors():
    few = pl.Series([None, *pack_vectors(quantise(np.eye(2)))], dtype=pl.Binary)
    topics = fit_topics(few, topics=9)
    assert unpack_vectors(topics["vector"]).shape == (2, 2)
    assert assign_topics(few, topics).to_list() == [None, 0, 1]
    none = fit_topics(few[:1], topics=9)
    assert none.is_empty() and assign_topics(few, none).to_list() == [None, 0, 0]


@pytest.mark.parametrize("wrong", [0.0, -0.5, 1.5, float("nan")])
def test_a_similarity_that_is_none_is_refused(wrong: float):
    with pytest.raises(ValueError, match=r"similarity is .*, not a cosine in 0\.\.1"):
        semantic_copy(similarity=wrong)
    with pytest.raises(ValueError, match=r"not a cosine in 0\.\.1"):
        semantic_copies(placed([(1, 1)]), similarity=wrong)


def test_topics_of_no_rows_are_refused():
    with pytest.raises(ValueError, match="rows_per_topic is 0"):
        semantic_copy(rows_per_topic=0)
