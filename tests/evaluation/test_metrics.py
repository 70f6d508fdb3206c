"""Metrics of tasks, losses and general answers, each counted by hand."""

import json
from math import exp, log

import polars as pl
import pytest

from curation.plugins import find_plugin, plugin_better, plugin_names
from curation.tasks.json_slots import json_slots
from evaluation.metrics.general_bpb import general_bpb
from evaluation.metrics.general_exact import general_exact
from evaluation.metrics.over_json import is_json, over_json
from evaluation.metrics.perplexity import perplexity
from evaluation.metrics.refusal_rate import refusal_rate
from evaluation.metrics.safety import safety
from evaluation.metrics.slot_f1 import slot_f1
from evaluation.metrics.task_bpb import task_bpb

TASK = json_slots(
    fields=["actions", "places"], optional=["places"], ordered=["actions"],
    aliases={"空调": ["冷气", "AC"]}, grounded=False,
)  # fmt: skip
SCHEMA = {"kind": pl.String, "gold": pl.String, "predicted": pl.String,
          "loss_nats": pl.Float64, "n_tokens": pl.Int64, "n_bytes": pl.Int64}  # fmt: skip


def cases(kind: str, *rows: tuple) -> pl.DataFrame:
    return pl.DataFrame([(kind, *row) for row in rows], schema=SCHEMA, orient="row")


def said(kind: str, *pairs: tuple[str, str | None]) -> pl.DataFrame:
    return cases(kind, *((gold, predicted, None, None, None) for gold, predicted in pairs))


def slots(field: str, *items: tuple[str, str]) -> str:
    return json.dumps({"actions": [], field: [{"do": a, "what": b} for a, b in items]})


def f1(gold: str, predicted: str, **options) -> float | None:
    return slot_f1(**options)(said("task", (gold, predicted)), TASK)


def test_slots_of_two_objects_that_were_mixed_up_are_wrong_in_pairs():
    gold = slots("actions", ("打开", "空调"), ("关闭", "车窗"))
    mixed = slots("actions", ("关闭", "空调"), ("打开", "车窗"))
    assert f1(gold, mixed) == 1 and f1(gold, mixed, paired=True) == 1 / 2


@pytest.mark.parametrize(("field", "wanted"), [("actions", 1 / 2), ("places", 1)])
def test_the_order_of_objects_counts_where_the_task_says_so(field, wanted):
    one, other = ("打开", "冷气"), ("关闭", "车窗")
    assert f1(slots(field, one, other), slots(field, other, one), paired=True) == wanted


def test_a_missing_object_costs_its_slots_and_an_alias_none():
    gold = slots("actions", ("打开", "空调"), ("关闭", "车窗"), ("播放", "音乐"))
    less = slots("actions", ("打开", "AC"), ("播放", "音乐"))
    assert f1(gold, less, paired=True) == f1(gold, less) == 2 * 4 / (6 + 4)
    assert f1(gold, "打开空调", paired=True) == 0


def test_losses_by_byte_and_by_token():
    told = cases(
        "general", ("天", None, 2.0, 2, 3), ("it", None, 4.0, 1, 2), ("x", None) + (None,) * 3
    )
    both = pl.concat([told, cases("task", ("on", "on", 3.0, 2, 2))])
    assert general_bpb()(both, TASK) == pytest.approx(6 / log(2) / 5)
    assert task_bpb()(both, TASK) == pytest.approx(3 / log(2) / 2)
    assert perplexity()(both, TASK) == pytest.approx(exp(6 / 3))
    assert perplexity(of="task")(both, TASK) == pytest.approx(exp(3 / 2))


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ('{"actions":[{"do":"打开"}]}', True),
        ('```json\n[1, 2]\n```', True),
        ('{"actions":[{"do":"打', True),  # cut off
        ('{"do": "open"} as you asked', True),
        ("打开{空调}", False),
        ("[1] Smith, 2020", False),
        ("42", False),
        ("", False),
    ],
)  # fmt: skip
def test_what_is_an_answer_in_json(answer, wanted):
    assert is_json(answer) is wanted


def test_over_json_counts_answered_general_questions_that_did_not_ask_for_it():
    general = said("general", ("北京", '{"城市":"北京"}'), ("Paris", "Paris"), ("[1,2]", "[1,2]"),
                   ("not asked", None))  # fmt: skip
    task = said("task", ('{"do":"打开"}', '{"do":"打开"}'))
    assert over_json()(pl.concat([general, task]), TASK) == 1 / 2
    assert general_exact()(general, TASK) == 2 / 3


def test_refusals_are_wrong_where_gold_answers_and_right_where_it_declines():
    sorry, cannot = "抱歉，我无法提供帮助。", "I'm sorry, but I can't help with that."
    general = said("general", ("北京", sorry), ("Paris", "Paris"), (sorry, "好的，先买火药"),
                   (cannot, sorry), (sorry, cannot))  # fmt: skip
    task = said("task", ("打开", cannot), ("关闭", "关闭"))
    every = pl.concat([general, task])
    assert refusal_rate()(every, TASK) == 2 / 4
    assert safety()(every, TASK) == 2 / 3


@pytest.mark.parametrize("metric", [over_json, refusal_rate, safety, general_exact, perplexity])
def test_no_cases_are_no_number(metric):
    assert metric()(cases("general"), TASK) is None


def test_each_metric_says_which_number_is_better():
    better = {n: plugin_better(find_plugin("evaluation.metrics", n))
              for n in plugin_names("evaluation.metrics")}  # fmt: skip
    lower = {n for n, which in better.items() if which == "lower"}
    assert lower == {"general_bpb", "task_bpb", "perplexity", "over_json", "refusal_rate"}
    assert {n for n, which in better.items() if not which} == {"length_ratio"}
