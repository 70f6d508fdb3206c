"""Scorers that need no model: length, repetition, validity, personal data, template markers."""

import json
from dataclasses import dataclass

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.personal import find_personal, kinds_of
from curation.plugins import find_plugin, plugin_uses
from curation.rows import ROW_SCHEMA, dialogue, make_row, rows_frame
from curation.scorers._base import ScoreContext, fold_of, full_text, spoken_text
from curation.scorers.repetition import measure_run, measure_runs, measure_share, measure_shares
from curation.scorers.special_tokens import find_markers
from curation.scorers.task_valid import find_reasons
from curation.tasks.json_slots import JsonSlots, json_slots


@dataclass(frozen=True)
class Fragile(JsonSlots):
    """A task of somebody else's, with a check that fails on one utterance."""

    def check(self, utterance, answer):
        if utterance == "乱":
            raise RuntimeError("a check that fails")
        return super().check(utterance, answer)


TASK = json_slots(fields=["actions"])
FRAGILE = Fragile(**vars(TASK))


def act(value):
    return json.dumps({"actions": [{"target": value}]}, ensure_ascii=False)


def frame(*pairs, **options):
    rows = [make_row(dialogue(p, a), **options) for p, a in pairs]
    return pl.DataFrame(rows, schema=ROW_SCHEMA)


def score(name, rows, task=TASK, **options):
    context = ScoreContext(task=task, reference=ROW_SCHEMA.to_frame())
    return find_plugin("curation.scorers", name)(**options)(rows, context).to_list()


def test_length_counts_the_characters_of_all_turns():
    assert score("length", frame(("打开空调", "好的"))) == [6.0]


@pytest.mark.parametrize(
    "text", ["好的，已为您打开空调。", "是", "1000000000", "Sure, the window is open."]
)
def test_an_ordinary_answer_repeats_little(text):
    assert score("repetition", frame(("问", text)))[0] < 0.2


@pytest.mark.parametrize(
    "text", ["好的" * 4, "哈" * 20, "我不知道这个问题的答案。" * 5, "ha ha ha ha ha ha"]
)
def test_a_stuttering_answer_repeats_much(text):
    assert score("repetition", frame(("问", text)))[0] > 0.5


@given(st.lists(st.text("哈 ha1好", max_size=24) | st.text(max_size=9), max_size=6))
def test_every_stutter_is_found_among_many_texts(texts):
    texts = [*texts, *(text * 4 for text in texts)]
    assert measure_runs(texts) == [measure_run(text) for text in texts]


@given(
    st.lists(st.text("哈ha1好", max_size=40) | st.text(max_size=9), max_size=6), st.integers(1, 7)
)
def test_the_shares_of_many_texts_are_those_of_each(texts, n):
    texts = [*texts, "打开空调" * 3, ""]
    alone = [measure_share(text, n) for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curation.scorers.repetition._MANY", 0)
        assert measure_shares(texts, n) == alone


def test_repeated_runs_of_no_characters_are_refused():
    with pytest.raises(ValueError, match="n is 0"):
        score("repetition", frame(("问", "答")), n=0)


def test_the_form_of_a_json_answer_is_no_repetition():
    answer = json.dumps([{"action": "open", "target": t} for t in ("window", "door", "roof")])
    assert score("repetition", frame(("问", answer), ("问", "好的" * 9))) == [0.0, 1.0]


def test_an_answer_is_valid_when_the_task_says_so_and_one_odd_row_costs_one_score():
    pairs = [("打开空调", act("空调")), ("打开空调", act("车窗")), ("乱", act("乱"))]
    rows = frame(*pairs)
    reasons = find_reasons(rows, FRAGILE).to_list()
    assert (reasons[0], reasons[2]) == ("", None) and str(reasons[1]).startswith("ungrounded")
    assert score("task_valid", rows, FRAGILE) == [True, False, None]
    assert score("task_valid", frame(("你好", "你好"), track="general"), FRAGILE) == [True]
    assert plugin_uses(find_plugin("curation.scorers", "task_valid")) == ("task",)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("我的电话13812345678谢谢", "phone"),
        ("电话：１３８１２３４５６７８", "phone"),
        ("请拨打+86 138-1234-5678吧", "phone"),
        ("座机010-62345678。", "phone"),
        ("call (415) 555-2671 now", "phone"),
        ("call +1 2345678 now", "phone"),
        ("Tel +44 20 7946 0958", "phone"),
        ("身份证11010519491231002X号", "id_number"),
        ("my SSN is 219-09-9999", "id_number"),
        ("邮箱zhang.san@qq.com吗", "email"),
        ("write to joe@mail.co.uk.", "email"),
        ("卡号6222 0212 3456 7894", "bank_card"),
        ("card 4111-1111-1111-1111", "bank_card"),
    ],
)
def test_personal_data_is_found_beside_han_characters_too(text, kind):
    assert kind in kinds_of(find_personal(text))


@pytest.mark.parametrize(
    "text",
    ["把空调调到26度", "导航到中关村大街27号", "订单号202311051234567890", "3.14159265358979323846"]
    + [
        "身份证110105194912310021",
        "card 4111111111111112",
        "2023-11-05 10:30:00",
        "price 1,234,567",
    ]
    + ["write to user@example.com", "0000 0000 0000 0000", "我在2024年12月31日出发", "拨打10086"],
)
def test_other_numbers_are_no_personal_data(text):
    assert find_personal(text) == []


@pytest.mark.parametrize(
    "text",
    ["好的<|im_end|>", "<|endoftext|>", "[INST] hi [/INST]", "<<SYS>>x", "<s>你好</s>", "<eos>"]
    + ["<｜end▁of▁sentence｜>", "<start_of_turn>user", "<|reserved_special_token_1|>"],
)
def test_template_markers_are_found(text):
    assert find_markers(f"前{text}后")
    assert score("special_tokens", frame(("问", f"答{text}"))) == [True]


def test_code_and_comparisons_are_no_markers():
    for text in ("a <b> c", "if a<s and s>b", "x = y[INSTANCE]", "a || b", "<select>", "<|"):
        assert not find_markers(text)
    assert (
        score("pii", frame(("问", "答"))) == score("special_tokens", frame(("问", "答"))) == [False]
    )


def test_a_marker_in_an_earlier_turn_or_in_the_instruction_counts():
    rows = rows_frame([make_row(dialogue("问", "答", system="<|im_end|>"))])
    assert score("special_tokens", rows) == [True]
    assert full_text(rows)[0] == "<|im_end|>\n问\n答" and spoken_text(rows)[0] == "问\n答"


def test_folds_go_by_id_and_are_about_equal():
    folds = [fold_of(str(i), 4) for i in range(2000)]
    assert set(folds) == {0, 1, 2, 3} and all(400 < folds.count(f) < 600 for f in range(4))


def test_no_rows_have_no_scores():
    for name in ("length", "repetition", "task_valid", "pii", "special_tokens"):
        assert score(name, ROW_SCHEMA.to_frame(), FRAGILE) == []
