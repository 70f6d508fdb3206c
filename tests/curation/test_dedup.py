"""Repeats are merged, distinct rows are not, and the order of arrival does not matter."""

import itertools
import json
import re
import struct

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opencc import OpenCC

from curation.band_index import COMPARED, index_bands, scan_bands
from curation.dedup import (
    CONFLICT_SCHEMA,
    PAIR_SCHEMA,
    find_duplicates,
    near_ids,
    sign_rows,
    turn_keys,
)
from curation.fates import FATE_SCHEMA, require_conservation
from curation.minhash import flat_bands
from curation.related import find_alike, find_related
from curation.rows import ROW_SCHEMA, dialogue, make_row, rows_frame
from curation.rules import judge_rows
from curation.scoring import FACT_SCHEMA, join_facts
from curation.similarity import jaccard
from curation.tasks.json_slots import json_slots
from curation.text import text_key

TASK = json_slots(fields=["actions"], grounded=False)


def commands(*pairs, **options):
    return rows_frame(make_row(dialogue(p, a), **options) for p, a in pairs)


def label(**slots):
    return json.dumps({"actions": [slots]}, ensure_ascii=False)


def kept_texts(rows, **options):
    fates = find_duplicates(rows, **options).fates.filter(pl.col("fate") == "kept")
    return sorted(turn_keys(rows.join(fates, on="id", how="semi"))["prompt"])


PLACES = ["主驾", "副驾", "后排左侧", "后排右侧", "全车"]
THINGS = [
    "车窗",
    "空调",
    "座椅加热",
    "座椅通风",
    "阅读灯",
    "遮阳帘",
    "音响",
    "门锁",
    "香氛",
    "除雾",
]
DEEDS = ["打开", "关闭", "暂停", "恢复", "调高", "调低"]
UNITS = ["", "%", "档", "℃", "℉", "dB", "m", "km"]
WORDS = ["打开", "关闭", "别打开", "别关闭", "继续", "左转", "右转", "开一点", "关一点"]
PARTS = ["window", "sunroof", "heater", "lamp", "trunk"]


def short_commands():
    """1,020 utterances of 2 to 18 characters, no two of which ask for the same, with answers."""
    places = [
        (d + p + t, label(do=d, what=t, where=p))
        for d, p, t in itertools.product(DEEDS, PLACES, THINGS)
    ]
    words = [(w, label(do=w)) for w in WORDS]
    degrees = [
        (f"{p}调到{n}度", label(where=p, value=f"{n}度")) for p in PLACES for n in range(-20, 61)
    ]
    units = [(f"音量{n}{u}", label(value=f"{n}{u}")) for n in (5, -5, 0.5, 15) for u in UNITS]
    long = [
        (f"等下雨了再把{p}{t}调到{n}档", label(what=t, where=p, value=f"{n}档"))
        for p, t, n in itertools.product(PLACES, THINGS, range(1, 5))
    ]
    doors = itertools.product(["open", "close", "start", "stop"], PARTS)
    english = [(f"{do} the {what}", label(do=do, what=what)) for do, what in doors]
    english += [
        (f"turn {on} seat {n}", label(do=on, seat=n)) for on in ("on", "off") for n in "12345"
    ]
    fans = itertools.product("1234", range(-5, 6))
    english += [(f"set fan {n} to {k}", label(fan=n, value=str(k))) for n, k in fans]
    return [*places, *words, *degrees, *units, *long, *english]


FULL_WIDTH = {**{code: code + 0xFEE0 for code in range(0x21, 0x7F)}, 0x20: 0x3000}
SIGNS = ["{}。", "{}！", "「{}」", "{}～", "“{}”…", "({})", " {} "]
TRADITIONAL = OpenCC("s2t")
TYPOGRAPHY = {
    "exact": str,
    "full width": lambda text: text.translate(FULL_WIDTH),
    "traditional": TRADITIONAL.convert,
    "punctuation": lambda text: SIGNS[len(text) % len(SIGNS)].format(text),
    "spaces": lambda text: re.sub(r"(?<=[a-z]) |(?<=^[^a-z ]{2})", "  ", text),
    "case": lambda text: re.sub("[a-z]{3,}", lambda word: word[0].upper(), text),
    "all": lambda text: TRADITIONAL.convert(f" {text} !").translate(FULL_WIDTH),
}


@pytest.mark.parametrize("task", [TASK, None])
def test_of_1020_short_commands_none_is_lost_and_every_variant_is_merged(task):
    distinct = short_commands()
    assert {2, 18} <= {len(p) for p, _ in distinct} <= set(range(2, 19))
    # A repeat has its answer in another written form too: a row of the same text is the same row.
    changes = itertools.cycle(TYPOGRAPHY.values())
    repeats = [(next(changes)(p), a.replace(" ", "")) for p, a in distinct]
    first = [make_row(dialogue(p, a)) for p, a in distinct]
    again = [make_row(dialogue(p, a), origin="llm") for p, a in repeats]
    rows = rows_frame([*first, *again])
    found = find_duplicates(rows, task=task)
    require_conservation(rows, found.fates)
    assert (rows["id"].n_unique(), found.pairs.height) == (2040, 1020)
    into = dict(found.pairs.select("id", "into").iter_rows())
    assert into == {row["id"]: kept["id"] for row, kept in zip(again, first, strict=True)}
    assert found.pairs["kind"].unique().to_list() == ["exact"]
    assert found.duplicate_ratio == 0.5


@pytest.mark.parametrize("kind", TYPOGRAPHY)
def test_a_short_command_has_one_key_in_every_typography(kind):
    said = [p for p, _ in short_commands()]
    other = [TYPOGRAPHY[kind](p) for p in said]
    assert kind == "exact" or sum(map(str.__ne__, said, other)) >= 50
    assert [p for p, o in zip(said, other, strict=True) if text_key(p) != text_key(o)] == []


@pytest.mark.parametrize("answer", ["好的", label(do="x")])
def test_short_texts_with_the_same_answer_are_merged_only_when_they_are_repeats(answer):
    texts = ["打开", "关闭", "暂停", "继续", "开", "关", "22度", "26度", "8.5", "85", "-10", "10"]
    texts += ["播放歌曲青花", "播放歌曲青花瓷", "不要打开车窗", "打开车窗", "turn on", "turn off"]
    texts += [prompt for prompt, _ in short_commands()]
    rows = commands(*[(t, answer) for t in dict.fromkeys(texts)])
    assert find_duplicates(rows).pairs.is_empty()


def test_a_near_command_is_merged_only_with_the_same_canonical_answer():
    one, other = "请打开主驾驶的车窗玻璃", "请打开主驾驶的车窗玻璃吧"
    a, same, b = label(do="开", what="窗"), label(what="窗", do="开"), label(do="关", what="窗")
    assert jaccard(one, other) >= 0.8
    rows = commands((one, a), (other, same))
    found = find_duplicates(rows, task=TASK)
    assert found.pairs["kind"].to_list() == ["near"] and found.pairs["similarity"][0] == jaccard(
        one, other
    )
    assert find_duplicates(commands((one, a), (other, b)), task=TASK).pairs.is_empty()


LONG = "请简要说明一下机器学习与传统编程在解决问题的方式方法有什么不同之处并且举例说明"
ANSWER = (
    "机器学习从数据里归纳规律，传统编程由人写明规则；例如识别垃圾邮件，前者看例子，后者列关键词。"
)


def test_long_free_text_is_merged_when_both_sides_are_near():
    rows = commands((LONG, ANSWER), (LONG + "吧", ANSWER + "谢谢"), track="general")
    assert find_duplicates(rows).pairs["kind"].to_list() == ["near"]
    rows = commands(
        (LONG, ANSWER),
        (LONG + "吧", "这是完全另外的一个回答，讲的是别的事情，与前一个毫无共同之处。"),
    )
    assert find_duplicates(rows).pairs.is_empty()


@pytest.mark.parametrize("change", [("3", "8"), ("不能", "能"), ("打开", "关闭")])
def test_numbers_negation_and_opposites_keep_long_texts_apart(change):
    text = LONG + "第3条不能打开"
    for one, other in [((text, ANSWER), (text.replace(*change), ANSWER))]:
        assert jaccard(one[0], other[0]) > 0.7
        assert find_duplicates(commands(one, other), threshold=0.7).pairs.is_empty()
    pair = (LONG, ANSWER + text), (LONG + "吧", ANSWER + text.replace(*change))
    assert find_duplicates(commands(*pair), threshold=0.7).pairs.is_empty()


def test_one_prompt_with_two_answers_is_a_conflict_and_no_duplicate():
    pairs = [
        ("打开车窗", label(do="开")),
        ("打开车窗。", label(do="关")),
        ("打开天窗", label(do="开")),
    ]
    rows = commands(*pairs)
    found = find_duplicates(rows, task=TASK)
    assert found.pairs.is_empty() and found.conflicts.schema == CONFLICT_SCHEMA
    conflict = found.conflicts.row(0, named=True)
    assert conflict["prompt"] == "打开车窗" and len(conflict["ids"]) == 2
    assert len(set(conflict["answers"])) == 2 and "关" in "".join(conflict["answers"])
    judged = judge_rows(join_facts(rows, {"label_conflict": found.facts}), ["not label_conflict"])
    assert set(judged.filter(pl.col("fate") == "dropped")["id"]) == set(conflict["ids"])
    assert found.facts.schema == FACT_SCHEMA and found.facts.height == 3


def test_a_row_in_a_conflict_takes_in_repeats_but_no_near_ones():
    one, near = "请打开主驾驶的车窗玻璃", "请打开主驾驶的车窗玻璃吧"
    rows = commands(
        (one, label(do="a")),
        (one + "！", label(do="a")),
        (one, label(do="b")),
        (near, label(do="a")),
    )
    found = find_duplicates(rows, task=TASK)
    assert found.pairs["kind"].to_list() == ["exact"] and len(found.conflicts["ids"][0]) == 3


def test_two_general_answers_to_one_prompt_both_stay():
    rows = commands(
        ("写一首诗", "床前明月光，疑是地上霜。"), ("写一首诗", "白日依山尽。"), track="general"
    )
    found = find_duplicates(rows, task=TASK)
    assert found.pairs.is_empty() and found.conflicts.is_empty()


def test_the_row_of_the_better_origin_stays_and_then_that_of_the_preferred_source():
    def one(mark, **options):
        return make_row(dialogue("打开车窗" + mark, "好的"), **options)

    made = [
        one("", origin="llm"),
        one("。", origin="badcase"),
        one("！", origin="import", source="b"),
    ]
    rows = rows_frame(made)
    assert set(find_duplicates(rows).pairs["into"]) == {made[2]["id"]}
    two = [made[2], one("～", origin="human", source="a")]
    for source, keeper in (("b", two[0]), ("a", two[1])):
        found = find_duplicates(rows_frame(two), priority=[source])
        assert found.pairs["into"].to_list() == [keeper["id"]]


def test_splits_and_other_instructions_are_not_compared():
    rows = pl.concat([commands(("打开", "好的")), commands(("打开。", "好的"), split="test")])
    assert find_duplicates(rows).pairs.is_empty()
    rows = [
        make_row(dialogue("苹果", "apple", system=s), track="general")
        for s in ("译成英文", "Translate")
    ]
    assert find_duplicates(rows_frame(rows)).pairs.is_empty()


def test_the_system_prompt_of_a_task_does_not_keep_repeats_apart():
    rows = [make_row(dialogue("打开", label(do="开"), system=s)) for s in ("", "你是车载助手")]
    assert find_duplicates(rows_frame(rows), task=TASK).pairs.height == 1


def test_earlier_turns_belong_to_the_prompt():
    def chat(first):
        return make_row([*dialogue(first, "好的"), *dialogue("再高一点", "好的")])

    assert find_duplicates(rows_frame([chat("空调"), chat("音量")])).pairs.is_empty()
    assert find_duplicates(rows_frame([chat("空调"), chat("空調！")])).pairs.height == 1


def test_no_rows_have_no_duplicates():
    found = find_duplicates(ROW_SCHEMA.to_frame(), task=TASK)
    assert (found.pairs.schema, found.fates.schema) == (PAIR_SCHEMA, FATE_SCHEMA)
    assert found.duplicate_ratio == 0


def test_a_repeat_of_a_merged_row_goes_where_that_one_went():
    one, near = "请打开主驾驶的车窗玻璃", "请打开主驾驶的车窗玻璃吧"
    rows = pl.concat(
        [
            commands((one, label(do="a"))),
            commands((near, label(do="a")), (near + "。", label(do="a")), origin="llm"),
        ]
    )
    pairs = find_duplicates(rows, task=TASK).pairs
    assert pairs["into"].unique().to_list() == commands((one, label(do="a")))["id"].to_list()
    assert pairs.height == 2


pieces = st.sampled_from(
    ["请", "打开", "关闭", "主驾", "副驾", "的", "车窗", "空调", "26度", "吧", "。", "谢谢"]
)
prompts = st.lists(pieces, min_size=1, max_size=9).map("".join).filter(lambda t: t != "。")
labels = st.sampled_from([label(do="a"), label(do="b")])


@given(
    st.lists(st.tuples(prompts, labels, st.sampled_from(["import", "llm"])), max_size=25),
    st.randoms(),
)
def test_the_kept_set_does_not_depend_on_order_and_every_keeper_is_near(made, random):
    rows = rows_frame(make_row(dialogue(p, a), origin=o) for p, a, o in made)
    found = find_duplicates(rows, task=TASK, threshold=0.6)
    shuffled = rows[random.sample(range(rows.height), rows.height)]
    again = find_duplicates(shuffled, task=TASK, threshold=0.6)
    assert again.fates.equals(found.fates) and again.conflicts.equals(found.conflicts)
    require_conservation(rows, found.fates)
    keys = {r["id"]: r for r in turn_keys(rows).to_dicts()}
    kept_ids = set(found.fates.filter(pl.col("fate") == "kept")["id"])
    for pair in found.pairs.to_dicts():
        one, other = keys[pair["id"]], keys[pair["into"]]
        assert pair["into"] in kept_ids and one["answer_text"] == other["answer_text"]
        assert pair["similarity"] == jaccard(one["prompt"], other["prompt"]) >= 0.6


# Sentences that share words, so that some repeat, some are near and some disagree.
PIECES = ("请打开左边的车窗", "请关闭右边的天窗", "然后调高座椅加热", "播放一首轻松的歌", "谢谢你")
SENTENCES = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join)
SAID = st.lists(
    st.tuples(SENTENCES, st.sampled_from(["", "吧", "！", "啊"]), st.sampled_from(["开", "关"])),
    min_size=2,
    max_size=14,
)


def frame(said):
    return pl.DataFrame(said, schema_overrides={"prompt": pl.UInt64, "bands": pl.Binary})


def indexes(signed, size, least=2):
    """Runs of so many rows: an index of each that has `least` rows, the others looked through."""
    runs = [run.select(COMPARED) for run in signed.iter_slices(size)]
    return [scan_bands(r) if r.height < least else index_bands(r).sharing for r in runs]


def reader(signed):
    return lambda ids: signed.select(COMPARED).filter(pl.col("id").is_in(ids.implode()))


@given(SAID, SAID, st.booleans())
def test_what_is_found_for_related_rows_alone_is_what_is_found_among_all(said, more, domain):
    task, track = (TASK, "domain") if domain else (None, "general")
    old, rows = (
        commands(*[(p + tail, label(do=what)) for p, tail, what in lines], track=track)
        for lines in (said, said + more)
    )
    signed = sign_rows(rows, task=task)
    new = rows.join(old, on="id", how="anti")["id"].to_list()
    among, read = indexes(signed, 3), reader(signed)
    all_related = find_related(new, among, read, most=rows.height)
    ids = find_related(
        new, among, read, most=rows.height, near=lambda p: near_ids(p, rows, task=task)
    )
    assert ids is not None and set(new) <= set(ids) <= set(all_related or ())
    part = find_duplicates(rows.filter(pl.col("id").is_in(ids)), task=task)
    was, whole = find_duplicates(old, task=task), find_duplicates(rows, task=task)
    for name in ("pairs", "fates", "facts"):
        kept = getattr(was, name).filter(~pl.col("id").is_in(ids))
        grown = pl.concat([kept, getattr(part, name)]).sort("id")
        assert grown.equals(getattr(whole, name)), name


@given(SAID, st.integers(1, 5))
def test_rows_alike_are_those_that_share_a_prompt_or_a_band(said, first):
    signed = sign_rows(commands(*[(p + tail, label(do=what)) for p, tail, what in said]))
    asked = signed.head(first)
    prompts, bands = set(asked["prompt"]), set(flat_bands(asked["bands"])[0])
    rows = signed.select("id", "prompt", "bands").iter_rows()
    shared = {
        i for i, prompt, own in rows if prompt in prompts or bands & {*memoryview(own).cast("I")}
    }
    assert set(find_alike(indexes(signed, 3, least=9), asked)) == shared
    assert set(find_alike(indexes(signed, 3), asked)) >= shared  # of few rows it keeps few bits


def test_a_band_is_shared_in_its_own_place_of_either_set_and_in_no_other():
    said = {"a": (1, 2, 3), "b": (3, 1, 2), "c": (9, 2, 9), "d": (7, 7, 7, 9, 2, 8), "e": (2, 9, 9)}
    bands = [struct.pack(f"{len(own)}I", *(n << 24 for n in own)) for own in said.values()]
    signed = frame({"id": [*said], "prompt": [n << 56 for n in range(5)], "bands": bands})
    for among in (indexes(signed, 5), indexes(signed, 5, least=9)):
        assert find_alike(among, signed[:1]) == ["a", "c", "d"]
        assert find_related(["b"], among, reader(signed), most=5) == ["b"]


def test_a_row_that_only_shares_a_band_is_not_related():
    said = {"a": (1, 2, 3), "b": (1, 5, 6), "c": (9, 5, 9), "d": (1, 8, 8), "e": (7, 8, 7)}
    bands = [struct.pack("3I", *own) for own in said.values()]
    prompts = [n << 56 for n in (0, 1, 2, 3, 0)]
    signed = frame({"id": [*said], "prompt": prompts, "bands": bands})
    pairs = list[tuple[str, str]]()

    def near(frame):
        pairs.extend(frame.rows())
        return ["b"]

    found = find_related(["a"], indexes(signed, 2), reader(signed), most=5, near=near)
    assert found == ["a", "b", "e"]
    assert sorted(pairs) == [("b", "a"), ("c", "b"), ("d", "a"), ("d", "b"), ("d", "e")]


def test_related_rows_are_not_followed_beyond_what_was_asked_for():
    rows = commands(*[(f"请打开左边的车窗吧{i}", label(do="开")) for i in range(20)])
    signed = sign_rows(rows, task=TASK)
    among, read = indexes(signed, 20), reader(signed)
    assert find_related(rows["id"][:1], among, read, most=20) == sorted(rows["id"])
    assert find_related(rows["id"][:1], among, read, most=5) is None
    assert find_related([], among, read, most=0) == []
