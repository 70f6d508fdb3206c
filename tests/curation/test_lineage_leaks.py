"""Leaks: found from the stored rows alone, whatever the split step said."""

import polars as pl
import pytest
import yaml

from curation.lineage import find_model_leaks
from curation.rows import dialogue, make_row, row_id, rows_frame
from curation.store import Made, Store
from pipelines.cli import main
from tests.assets._project import RECIPE
from tests.curation.lineage_world import TASK, Plan, answer, case, publish

SEEDS = [(f"打开{what}", answer("打开", what)) for what in ("空调", "天窗", "车灯", "雨刮")]
TEST = ("麻烦你现在把后排左边的车窗打开一下", answer("打开", "车窗"))
ENGLISH = ("Please open the left rear window for me now", answer("打开", "window"))
EXAM = {"test": {"split": "test"}}
HOLD = next(
    c
    for n in range(60)
    if (c := case("请" * n + "把雨刮关了", answer("关闭", "雨刮")))["half"] == "hold"
)


def publish_leaking(store, rows):
    """A version whose training set holds rows that the split step never judged."""
    plan = Plan(sources={"seeds": SEEDS, "test": [TEST, ENGLISH]}, labels=EXAM, cases=[HOLD],
                recipe={"mix": {"general": 0}})  # fmt: skip
    plant(store, publish(store, plan), rows)


def plant(store, entry, rows):
    trained = entry.input("training_set")
    extra = rows_frame(make_row(dialogue(*r)) for r in rows).with_columns(
        repeats=pl.lit(1).cast(pl.Int64)
    )
    tables = {"rows": pl.concat([trained.table("rows"), extra]), "fates": trained.table("fates")}
    inputs = {n: store.version(k) for n, k in trained.manifest["inputs"].items()}
    forged = store.write_version(
        "w/training_set", Made(tables=tables, values=trained.values),
        inputs=inputs, how=trained.manifest["how"],
    )  # fmt: skip
    inputs = {n: store.version(k) for n, k in entry.manifest["inputs"].items()}
    store.publish(store.write_version(
        "w/model_version", Made(values=entry.values),
        inputs={**inputs, "training_set": forged}, how=entry.manifest["how"],
    ))  # fmt: skip


def leaks(store):
    said = find_model_leaks(store, "w", "v1", task=TASK)
    return [(leak["how"], leak["id"], leak["of"]) for leak in said["leaks"]]


def test_a_clean_version_has_none_and_says_what_was_compared(tmp_path):
    store = Store(tmp_path)
    publish_leaking(store, [])
    said = find_model_leaks(store, "w", "v1", task=TASK)
    assert said["leaks"] == []
    assert said["compared"] == {"trained": 4, "exam": 3, "edges": 1, "threshold": 0.8}


@pytest.mark.parametrize(
    ("planted", "how"),
    [
        (TEST, "exact"),
        ((TEST[0] + "！", "别的答案"), "exact"),
        (("麻煩你現在把後排左邊的車窗打開一下", TEST[1]), "exact"),
        (("麻烦你现在把后排左边的车窗打开一下吧", TEST[1]), "near"),
        (("please OPEN the left rear window, for me now!", ENGLISH[1]), "exact"),
        (("Please open the left rear window for me now ok", ENGLISH[1]), "near"),
    ],
)
def test_a_planted_leak_is_found(tmp_path, planted, how):
    store = Store(tmp_path)
    publish_leaking(store, [planted])
    of = row_id(dialogue(*(ENGLISH if planted[0].isascii() else TEST)))
    assert leaks(store) == [(how, row_id(dialogue(*planted)), of)]


def test_the_command_that_finds_a_leak_shows_it_and_exits_with_one(tmp_path, capsys):
    recipe = tmp_path / "w.yaml"
    said = RECIPE | {"name": "w", "train": {"base_model": "demo"}}
    recipe.write_text(yaml.safe_dump(said, allow_unicode=True), encoding="utf-8")
    for name in RECIPE["sources"]:
        (tmp_path / name).mkdir()
    for planted, code, line in (([], 0, "leaks      0"), ([TEST], 1, "leaks      1")):
        place = tmp_path / f"store-{code}"
        publish_leaking(Store(place), planted)
        asked = ["lineage", "leak", "v1", "--recipe", str(recipe), "--store", str(place)]
        assert main(asked) == code
        said = capsys.readouterr().out
        assert line in said.splitlines() and (TEST[0] in said) == bool(code)


def test_a_near_prompt_with_another_answer_is_no_leak(tmp_path):
    store = Store(tmp_path)
    publish_leaking(store, [("麻烦你现在把后排右边的车窗打开一下", answer("打开", "右车窗"))])
    assert leaks(store) == []


def test_a_row_made_from_a_held_case_leaks_however_far_it_is(tmp_path):
    store = Store(tmp_path)
    child = ("关闭副驾氛围灯", answer("关闭", "副驾氛围灯"))
    grandchild = ("取消香氛", answer("关闭", "香氛"))
    made = [(*child, HOLD["row_id"], "augment_badcase"),
            (*grandchild, row_id(dialogue(*child)), "transform")]  # fmt: skip
    plan = Plan(sources={"seeds": SEEDS}, made=made, cases=[HOLD], recipe={"mix": {"general": 0}})
    entry = publish(store, plan)
    split = entry.input("training_set").input("kept_rows").input("split_rows")
    dropped = split.table("fates").filter(pl.col("fate") == "dropped")
    assert dropped.height == 2  # the split step sees both; now they are planted all the same
    plant(store, entry, [child, grandchild])
    assert {how for how, _, _ in leaks(store)} == {"stems_from"}
    assert {id for _, id, _ in leaks(store)} == {row_id(dialogue(*r)) for r in (child, grandchild)}


def test_without_an_exam_nothing_can_leak(tmp_path):
    store = Store(tmp_path)
    publish(store, Plan(sources={"seeds": [("打开空调", answer("打开", "空调"))]}))
    found = find_model_leaks(store, "w", "latest", task=TASK)
    assert found["leaks"] == []
    assert found["compared"]["exam"] == 0
