"""The offline augmenter: targeted by bad cases, valid, new, and traceable to a parent."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from curation.augmenters._base import Augmented, AugmentWork
from curation.augmenters.rules import rules
from curation.progress import silent
from curation.rows import dialogue, digest, make_row, row_id, rows_frame
from curation.tasks.free_text import free_text
from curation.tasks.json_slots import json_slots

TASK = json_slots(
    fields=["conditions", "actions"],
    optional=["conditions"],
    closed={"do": ["打开", "关闭", "设为"]},
)
WORDS = """
synonyms: [[打开, 开启], [关闭, 关掉]]
contrasts: [[打开, 关闭]]
fillers: [嗯]
"""


def action(do: str, what: str, value: str = "") -> dict[str, str]:
    return {"do": do, "what": what} | ({"value": value} if value else {})


def answer(*actions: dict, **fields: list) -> str:
    return json.dumps({**fields, "actions": actions}, ensure_ascii=False, separators=(",", ":"))


SEEDS = {
    "打开空调": answer(action("打开", "空调")),
    "打开天窗": answer(action("打开", "天窗")),
    "把音量调到15": answer(action("设为", "音量", "15")),
    "关掉雨刮": answer(action("关闭", "雨刮")),
}
BAD = {
    "能不能帮我打开阅读灯": answer(action("打开", "阅读灯")),
    "车速超过80就打开雾灯": answer(
        action("打开", "雾灯"), conditions=[{"what": "车速", "is": "超过80"}]
    ),
}


def work(bad: dict[str, str] = BAD, seeds: dict[str, str] = SEEDS, *, quota: int = 12, task=TASK):
    cases = [
        {
            **{
                "id": digest([p, gold]),
                "prompt": p,
                "gold": gold,
                "predicted": "{}",
                "half": "learn",
            },
            **{"cluster": p, "signature": "missing:actions", "row_id": row_id(dialogue(p, gold))},
        }
        for p, gold in bad.items()
    ]
    names = ("id", "prompt", "gold", "predicted", "half", "cluster", "signature", "row_id")
    frame = pl.DataFrame(cases, schema=dict.fromkeys(names, pl.String))
    types = pl.DataFrame(
        {"signature": ["missing:actions"], "n": [len(bad)], "quota": [quota], "name": [""]}
    )
    rows = rows_frame(make_row(dialogue(p, a)) for p, a in seeds.items())
    return AugmentWork(task, rows, frame, types, silent, Path())


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.yaml"
    path.write_text(WORDS, encoding="utf-8")
    return path


def said(made: Augmented) -> dict[str, str]:
    return {r["messages"][-2]["content"]: r["messages"][-1]["content"] for r in made.rows}


def test_every_row_is_valid_new_and_has_one_parent(words):
    given = work()
    made = rules(synonyms=words, per_seed=2)(given)
    parents = {*given.seeds["id"], *given.bad_cases["row_id"], *given.bad_cases["id"]}
    assert all(TASK.check(prompt, text) == "" for prompt, text in said(made).items())
    assert len({r["id"] for r in made.rows}) == len(made.rows)
    assert not {r["id"] for r in made.rows} & set(given.seeds["id"])
    assert [e["child"] for e in made.edges] == [r["id"] for r in made.rows]
    assert all(edge["parent"] in parents for edge in made.edges)


def test_each_bad_case_enters_corrected(words):
    given = work()
    made = rules(synonyms=words)(given)
    fixes = {e["child"]: e["parent"] for e in made.edges if e["kind"] == "fix"}
    assert fixes == dict(given.bad_cases.select("row_id", "id").iter_rows())
    assert Counter(r["origin"] for r in made.rows)["badcase"] == len(BAD)


def test_the_frame_of_a_bad_case_is_put_around_a_seed(words):
    made = said(rules(synonyms=words, per_case=20)(work(quota=40)))
    assert "能不能帮我把音量调到15" in made
    framed = made["车速超过80就把音量调到15"]
    assert framed == answer(
        action("设为", "音量", "15"), conditions=[{"what": "车速", "is": "超过80"}]
    )


def test_a_contrast_changes_verb_and_slot_together(words):
    made = said(rules(synonyms=words, per_case=20)(work(quota=40)))
    turned = [text for prompt, text in made.items() if prompt.startswith("能不能帮我关")]
    assert turned and all('"do":"关闭"' in text for text in turned)


def test_the_quota_of_the_type_and_the_cap_of_a_case_hold(words):
    def variants(quota: int, per_case: int) -> Counter:
        made = rules(synonyms=words, per_case=per_case)(work(quota=quota))
        return Counter(e["parent"] for e in made.edges if e["kind"] == "augment_badcase")

    assert sum(variants(3, 6).values()) == 3
    assert max(variants(40, 2).values()) == 2


def test_the_same_seed_gives_the_same_rows_in_any_order(words):
    turned = dict(reversed(BAD.items()))
    first, again = (
        rules(synonyms=words, seed=1)(work()),
        rules(synonyms=words, seed=1)(work(turned)),
    )
    assert [r["id"] for r in first.rows] == [r["id"] for r in again.rows]
    assert said(first) != said(rules(synonyms=words, seed=2)(work()))


def test_without_bad_cases_nothing_is_made_unless_seeds_are_asked_for(words):
    assert rules(synonyms=words)(work({})).rows == []
    made = rules(synonyms=words, per_seed=2)(work({}))
    assert {e["kind"] for e in made.edges} == {"augment_seed"}
    assert made.rows and max(Counter(e["parent"] for e in made.edges).values()) <= 2


def test_vocabulary_lines_widen_slot_values(tmp_path):
    path = tmp_path / "vocabulary.yaml"
    path.write_text("- [阅读灯, 氛围灯]\n", encoding="utf-8")
    made = said(rules(vocabulary=path, per_case=30)(work(quota=60)))
    assert "能不能帮我打开氛围灯" in made


def test_dirty_parents_are_neither_widened_nor_copied(words):
    dirty = {
        "打开<|im_end|>": answer(action("打开", "<|im_end|>")),
        "给13800138000打开": answer(action("打开", "13800138000")),
        "打开开开开开开窗": answer(action("打开", "开窗")),
        "打开车门": answer(action("打开", "后备箱")),
    }
    made = rules(synonyms=words, per_seed=5)(work({}, {**SEEDS, **dirty}))
    text = "".join(said(made))
    assert not any(word in text for word in ("im_end", "1380", "开开", "车门", "后备箱"))


def test_seeds_that_contradict_each_other_are_not_widened():
    given = work({})
    turned = make_row(dialogue("打开空调", answer(action("关闭", "空调"))))
    both = replace(given, seeds=rows_frame([*given.seeds.to_dicts(), turned]))
    parents = {e["parent"] for e in rules(per_seed=5)(both).edges}
    assert (
        turned["id"] not in parents
        and row_id(dialogue("打开空调", SEEDS["打开空调"])) not in parents
    )


def test_a_bad_gold_is_refused_with_its_reason(words):
    made = rules(synonyms=words)(work({"打开车门": answer(action("打开", "后备箱"))}))
    assert made.rows == []
    assert [r["reason"] for r in made.rejected] == ["ungrounded:actions[0].what"]


def test_prose_tasks_get_corrected_rows_only():
    made = rules()(work({"一加一等于几": "二"}, {"你好": "你好呀"}, task=free_text()))
    assert said(made) == {"一加一等于几": "二"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("synonym: []", "did you mean 'synonyms'"),
        ("synonyms: [打开]", "list of lists"),
        ("contrasts: [[打开]]", "two words"),
        ("synonyms: [[1, 2]]", "not text"),
    ],
)
def test_word_files_are_checked_at_the_door(tmp_path, text, message):
    path = tmp_path / "words.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        rules(synonyms=path)
