"""Nothing that is tested on is trained on, in this version or in a later one."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.fates import require_conservation
from curation.rows import EDGE_SCHEMA, ROW_SCHEMA, dialogue, digest, make_row, rows_frame
from curation.split import (
    LEAK_SCHEMA,
    assign_clusters,
    assign_splits,
    drop_leaks,
    find_leaks,
    half_of,
    protected_rows,
)
from curation.tasks.json_slots import json_slots
from curation.text import text_key

NO_CASES = pl.DataFrame(schema=dict.fromkeys(("prompt", "gold", "half"), pl.String))
NO_EDGES, NO_PAIRS = (
    EDGE_SCHEMA.to_frame(),
    pl.DataFrame(schema={"id": pl.String, "into": pl.String}),
)


TASK = json_slots(fields=["actions"], grounded=False)
ONE, OTHER = '{"actions":[{"do":"a"}]}', '{"actions":[{"do":"b"}]}'


def row(prompt, answer=ONE, **options):
    return make_row(dialogue(prompt, answer), **options)


def edges(*pairs):
    lines = [{"child": c, "parent": p, "kind": "augment_seed", "call": ""} for c, p in pairs]
    return pl.DataFrame(lines, schema=EDGE_SCHEMA)


def name(i):
    return digest(str(i))


def ids(*numbers):
    return pl.DataFrame({"id": [name(i) for i in numbers]}, schema={"id": pl.String})


def test_what_stems_from_one_another_or_repeats_is_one_cluster():
    pairs = pl.DataFrame({"id": [name(3)], "into": [name(4)]})
    clusters = dict(
        assign_clusters(
            ids(1, 2, 3, 4, 5), edges((name(1), name(2)), (name(2), name(3))), pairs
        ).iter_rows()
    )
    assert len({clusters[name(i)] for i in (1, 2, 3, 4)}) == 1
    assert clusters[name(5)] == name(5)
    assert clusters[name(1)] == min(name(i) for i in (1, 2, 3, 4))


def test_siblings_meet_in_a_parent_that_is_no_row():
    clusters = assign_clusters(ids(1, 2), edges((name(1), "case"), (name(2), "case")), NO_PAIRS)
    assert clusters["cluster"].n_unique() == 1 and clusters.height == 3


links = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=14)


@given(links, links)
def test_a_cluster_keeps_its_name_when_it_grows(before, more):
    def made(pairs, previous=None):
        named = edges(*[(name(a), name(b)) for a, b in pairs])
        return assign_clusters(ids(*range(13)), named, NO_PAIRS, previous=previous)

    old = made(before)
    grown = made(before + more, old)
    assert made(list(reversed(before))).equals(old)
    assert set(grown["cluster"]) <= set(old["cluster"])
    both = (
        old.join(grown, on="id", suffix="_now")
        .group_by("cluster")
        .agg(pl.col("cluster_now").n_unique())
    )
    assert both["cluster_now"].max() == 1
    held = old.filter(pl.Series([half_of(c) == "hold" for c in old["cluster"]], dtype=pl.Boolean))
    assert all(half_of(c) == "hold" for c in grown.join(held, on="id", how="semi")["cluster"])
    assert made([], grown).equals(grown)


def test_halves_are_about_equal_and_never_change():
    halves = [half_of(name(i)) for i in range(2000)]
    assert 900 < halves.count("hold") < 1100
    assert [half_of(str(i)) for i in range(6)] == [half_of(str(i)) for i in range(6)]


def test_once_in_test_always_in_test():
    first = rows_frame([row("打开", split="test"), row("关闭")])
    now = rows_frame([row("打开"), row("关闭")])
    clusters = assign_clusters(now, NO_EDGES, NO_PAIRS)
    again = assign_splits(now, clusters, previous=first.select("id", "split"))
    assert again.select("id", "split").equals(first.select("id", "split"))
    assert again.schema == ROW_SCHEMA


def test_shares_take_whole_clusters_of_imports_and_the_same_ones_later():
    rows = rows_frame(row(f"打开{i}") for i in range(600))
    made = rows_frame([row(f"请打开{i}", origin="llm") for i in range(50)])
    pairs = pl.DataFrame({"id": rows["id"][::2], "into": rows["id"][1::2]})
    clusters = assign_clusters(rows, NO_EDGES, pairs)
    split = assign_splits(rows, clusters, test=0.2, heldout=0.3)
    shares = dict(split.group_by("split").agg(pl.len() / 600).iter_rows())
    assert 0.12 < shares["test"] < 0.28 and 0.2 < shares["heldout"] < 0.4
    by_cluster = split.join(clusters, on="id").group_by("cluster").agg(pl.col("split").n_unique())
    assert by_cluster["split"].max() == 1
    later = assign_splits(pl.concat([rows, made]), clusters, test=0.2, heldout=0.3)
    assert later.join(split, on=["id", "split"], how="semi").height == 600
    assert set(later.join(made, on="id", how="semi")["split"]) == {"train"}
    with pytest.raises(ValueError, match="0.7 and heldout 0.3"):
        assign_splits(rows, clusters, test=0.7, heldout=0.3)


def test_the_same_prompt_is_a_leak_whatever_its_answer_and_a_near_one_with_the_same():
    near, other = "请打开主驾驶的车窗玻璃吧", "请打开主驾驶的车窗玻璃呀"
    test = rows_frame([row("请打开主驾驶的车窗玻璃", split="test")])
    train = [
        row("請打開主駕駛的車窗玻璃。", OTHER),
        row(near),
        row(other, OTHER),
        row("关闭空调"),
    ]
    leaks = find_leaks(rows_frame(train), test, task=TASK)
    assert leaks.schema == LEAK_SCHEMA
    kinds = dict(leaks.select("id", "kind").iter_rows())
    assert kinds == {train[0]["id"]: "prompt", train[1]["id"]: "near"}
    assert set(leaks["of"]) == {test["id"][0]} and (leaks["similarity"] >= 0.8).all()


def test_numbers_tell_free_text_from_a_leak():
    long = "请问从北京南站出发乘坐高速列车到上海虹桥站大约需要几个小时才能到达目的地呢第{}次"
    test = rows_frame([row(long.format(3), "四个半小时", split="test", track="general")])
    train = rows_frame([row(long.format(8), "四个半小时", track="general")])
    assert find_leaks(train, test).is_empty()


def half_prompt(half, n=0):
    return [
        p for p in (f"打开{i}号车窗" for i in range(99)) if half_of(digest(text_key(p))) == half
    ][n]


def test_only_the_hold_half_of_held_out_prompts_is_protected():
    hold, learn = half_prompt("hold"), half_prompt("learn")
    rows = rows_frame(
        [
            row(hold, split="heldout"),
            row(learn, split="heldout"),
            row(hold),
            row("问", split="test"),
        ]
    )
    cases = pl.DataFrame(
        {"prompt": ["乱说", "再说"], "gold": ["a", "b"], "half": ["hold", "learn"]}
    )
    protected = protected_rows(rows, cases, task=TASK)
    made = make_row(dialogue("乱说", "a"))["id"]
    assert set(protected["id"]) == {row(hold)["id"], row("问")["id"], made}
    assert protected.schema == ROW_SCHEMA


def test_a_training_row_leaves_with_its_cluster_its_prompt_or_its_likeness():
    tested = row("打开车窗", split="test")
    child, grandchild = row("把窗户开一下", origin="llm"), row("窗户开着更舒服", origin="llm")
    fine, same = row("关闭空调", source="seeds"), row("打开车窗！", OTHER)
    train = rows_frame([child, grandchild, fine, same])
    lineage = edges((child["id"], tested["id"]), (grandchild["id"], child["id"]))
    clusters = assign_clusters(pl.concat([train, rows_frame([tested])]), lineage, NO_PAIRS)
    fates = drop_leaks(train, rows_frame([tested]), clusters, NO_CASES, task=TASK)
    require_conservation(train, fates)
    assert fates.filter(pl.col("fate") == "kept")["id"].to_list() == [fine["id"]]
    assert set(fates.filter(pl.col("reason") == "leak")["into"]) == {tested["id"]}


def test_what_the_learn_half_taught_is_kept():
    learn = row(half_prompt("learn"), split="heldout")
    lesson = row("请" + half_prompt("learn"), origin="badcase")
    train, imported = rows_frame([lesson]), rows_frame([learn])
    clusters = assign_clusters(train, edges((lesson["id"], learn["id"])), NO_PAIRS)
    fates = drop_leaks(train, imported, clusters, NO_CASES, task=TASK)
    assert fates["fate"].to_list() == ["kept"]


def test_without_anything_to_protect_every_row_stays():
    train = rows_frame([row("打开")])
    clusters = assign_clusters(train, NO_EDGES, NO_PAIRS)
    fates = drop_leaks(train, ROW_SCHEMA.to_frame(), clusters, NO_CASES)
    assert fates["fate"].to_list() == ["kept"]
    assert find_leaks(train.clear(), train).is_empty()
