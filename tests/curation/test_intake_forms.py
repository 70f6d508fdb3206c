"""Forms of other products: what a record of each says, and what costs only itself."""

import json
from typing import Any

import pytest

from curation.bad_cases import add_bad_cases, correct_case, read_inbox, read_quarantine
from curation.intake_forms import form_names, read_forms
from curation.plugins import find_plugin, plugin_names
from curation.sources._base import Record
from curation.store import Store

ZH = {"prompt": "打开空调", "predicted": "好的，已打开车窗", "gold": "好的，已打开空调"}
EN = {"prompt": "Open the sunroof", "predicted": "Closing it", "gold": "Opening it"}


def turns(prompt: str, answer: str | None = None) -> list[dict[str, Any]]:
    asked = [{"role": "system", "content": "你是车载助手"}, {"role": "user", "content": prompt}]
    return asked + ([{"role": "assistant", "content": answer}] if answer else [])


def langfuse_trace(case: dict[str, str], at: str | None = None) -> dict[str, Any]:
    score = {"name": "output", "dataType": "CORRECTION", "observationId": at}
    other = {"name": "helpful", "dataType": "NUMERIC", "value": 0.2}
    observation = {"id": "obs-1", "type": "GENERATION", "model": "m-1", "metadata": {},
                   "input": {"messages": turns(case["prompt"])},
                   "output": {"role": "assistant", "content": case["predicted"]}}  # fmt: skip
    texts = (
        {"input": case["prompt"], "output": case["predicted"]}
        if at is None
        else {"input": {"session": 7}, "output": None}
    )
    scores = [other, {**score, "value": case["gold"]}]
    return {"id": "t-1", "htmlPath": "/p/t-1", **texts, "observations": [observation],
            "scores": scores}  # fmt: skip


def langchain(kind: str, text: str) -> dict[str, Any]:
    path = ["langchain_core", "messages", kind]
    return {"lc": 1, "type": "constructor", "id": path, "kwargs": {"content": text}}


def langsmith_run(case: dict[str, str], **more: Any) -> dict[str, Any]:
    return {
        "id": "r-1",
        "run_type": "llm",
        "inputs": {"messages": [[langchain("HumanMessage", case["prompt"])]]},
        "outputs": {"generations": [[{"message": langchain("AIMessage", case["predicted"])}]]},
        "extra": {"metadata": {"ls_model_name": "m-1"}},
        **more,
    }


def genai(role: str, text: str) -> list[dict[str, Any]]:
    return [{"role": role, "parts": [{"type": "text", "content": text}]}]


def otlp(*spans: dict[str, Any]) -> dict[str, Any]:
    said = [{"name": "chat", "attributes": [{"key": key, "value": {"stringValue": value}}
             for key, value in span.items()]} for span in spans]  # fmt: skip
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": said}]}]}


def otel_span(case: dict[str, str]) -> dict[str, str]:
    return {
        "gen_ai.request.model": "m-1",
        "gen_ai.input.messages": json.dumps(genai("user", case["prompt"])),
        "gen_ai.output.messages": json.dumps(genai("assistant", case["predicted"])),
        "app.correction": case["gold"],
    }


def sdk_span(case: dict[str, str]) -> dict[str, Any]:
    """As a console exporter writes a span of version 1.27, its content in events."""
    events = [
        {"name": "gen_ai.content.prompt",
         "attributes": {"gen_ai.prompt": json.dumps(turns(case["prompt"]))}},
        {"name": "gen_ai.content.completion",
         "attributes": {"gen_ai.completion": json.dumps(turns("", case["predicted"])[2:])}},
    ]  # fmt: skip
    attributes = {"gen_ai.request.model": "m-1", "app.correction": case["gold"]}
    return {"name": "chat", "attributes": attributes, "events": events}


def numbered_span(case: dict[str, str]) -> dict[str, Any]:
    return {
        "attributes": {
            "gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "Be brief",
            "gen_ai.prompt.1.role": "user", "gen_ai.prompt.1.content": case["prompt"],
            "gen_ai.completion.0.content": case["predicted"], "gen_ai.response.model": "m-1",
            "app.correction": case["gold"],
        }
    }  # fmt: skip


def feedback(correction: Any) -> list[dict[str, Any]]:
    audited = {"key": "correctness", "correction": {"score": 1}}
    return [{"key": "note", "correction": None}, audited, {"key": "x", "correction": correction}]


RECORDS: dict[str, tuple[str, Any]] = {
    "plain": ("plain", lambda case: {**case, "found_by": "m-1"}),
    "chat": ("chat", lambda case: {"messages": turns(case["prompt"], case["predicted"]),
                                   "correction": case["gold"], "model": "m-1"}),
    "chat, choices": ("chat", lambda case: {
        "messages": [{"role": "user", "content": [{"type": "text", "text": case["prompt"]}]}],
        "choices": [{"message": {"role": "assistant", "content": case["predicted"]}}],
        "gold": {"role": "assistant", "content": case["gold"]}, "model": "m-1"}),
    "langfuse": ("langfuse", lambda case: {**langfuse_trace(case), "metadata": {"model": "m-1"}}),
    "langfuse, observation": ("langfuse", lambda case: langfuse_trace(case, "obs-1")),
    "langsmith, feedback": ("langsmith", lambda case: langsmith_run(
        case, feedback=feedback({"output": case["gold"]}))),
    "langsmith, reference": ("langsmith", lambda case: langsmith_run(
        case, reference_outputs={"answer": case["gold"]})),
    "langsmith, experiment": ("langsmith", lambda case: {
        "run": langsmith_run(case), "example": {"outputs": {"answer": case["gold"]}}}),
    "otel": ("otel", lambda case: otlp({"http.method": "GET"}, otel_span(case))),
    "otel, span events": ("otel", sdk_span),
    "otel, numbered": ("otel", numbered_span),
}  # fmt: skip


def gold_at(form: str) -> str:
    return "attributes.app.correction" if form == "otel" else ""


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("case", [ZH, EN], ids=["zh", "en"])
@pytest.mark.parametrize("auto", [True, False])
def test_a_record_of_each_form_says_its_case(name, case, auto):
    form, make = RECORDS[name]
    record = json.loads(json.dumps(make(case)))
    how = "auto" if auto else form
    assert [*read_forms([("x:1", record)], form=how, gold=gold_at(form))] == [
        ("x:1", {**case, "found_by": "m-1"})
    ]


def test_a_record_is_known_by_one_preset_only():
    assert form_names() == ["auto", "chat", "langfuse", "langsmith", "otel", "plain"]
    presets = {name: find_plugin("curation.presets", name)() for name in form_names()[1:]}
    assert sorted(presets) == plugin_names("curation.presets")
    for form, make in RECORDS.values():
        assert [name for name, one in presets.items() if one.fits(make(EN))] == [form]


def test_two_corrections_of_one_trace_are_two_cases():
    trace = langfuse_trace(ZH)
    trace["scores"].append({"name": "output", "data_type": "CORRECTION",
                            "observation_id": "obs-1", "string_value": "改过的"})  # fmt: skip
    first, second = read_forms([("t.jsonl:3", trace)])
    assert [first[0], second[0]] == ["t.jsonl:3#1", "t.jsonl:3#2"]
    assert [first[1]["gold"], second[1]["gold"]] == [ZH["gold"], "改过的"]


REFUSED: dict[str, tuple[Any, str]] = {
    "several turns": ({"messages": turns("那条呢？", "哪条？") + turns("新的", "好")},
                      "5 messages, 2 of the user"),
    "two questions": ({"messages": turns("开窗") + turns("开灯", "好")},
                      "4 messages, 2 of the user"),
    "no question": ({"messages": turns("", "hi")[::2]}, "1 messages, 0 of the user"),
    "no assistant": ({"messages": turns("hi"), "gold": "x"}, "not the assistant's"),
    "picture": ({"messages": [{"role": "user", "content": [{"type": "image_url"}]},
                              {"role": "assistant", "content": "a cat"}]}, "is 'image_url'"),
    "tool call": (otlp({"gen_ai.input.messages": json.dumps(genai("user", "天气")),
                        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [
                            {"type": "tool_call", "name": "weather"}]}])}), "is 'tool_call'"),
    "content not captured": (otlp({"gen_ai.request.model": "m"}), "no prompt"),
    "right answer": (langsmith_run(EN, reference_outputs={"answer": EN["predicted"]}),
                     "nothing was wrong"),
    "lost observation": (langfuse_trace(EN, "obs-9"), "'obs-9' is not in the record"),
    "failed run": (langsmith_run(EN, outputs=None), "no answer of the model"),
    "broken attribute": ({"attributes": {"gen_ai.input.messages": "[{"}}, "broken JSON"),
    "odd types": ({"input": 7, "scores": {"a": [None]}, "output": 3}, "no prompt"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_record_that_is_no_case_costs_itself_and_is_kept(tmp_path, name):
    record, reason = REFUSED[name]
    store = Store(tmp_path)
    delivery = add_bad_cases(store, read_forms([("1", ZH), ("2", record), ("3", EN)]))
    assert [one.outcome for one in delivery.outcomes] == ["new", "quarantined", "new"]
    (kept,) = read_quarantine(store)
    assert reason in kept["reason"] and kept["position"] == "2" and kept["raw"]
    assert "case" not in kept


def test_a_record_without_a_correction_waits_for_one_whole_and_is_a_case_then(tmp_path):
    store, long = Store(tmp_path), "很长的问题" * 1000
    case = {**ZH, "prompt": long}
    trace = {**langfuse_trace(case), "scores": []}
    delivery = add_bad_cases(store, read_forms([("1", trace)]))
    assert delivery.quarantined == (("1", "no corrected answer"),) and read_inbox(store) == []
    (kept,) = read_quarantine(store)
    assert (kept["prompt"], kept["predicted"]) == (long, ZH["predicted"])
    assert kept["raw"].startswith('{"id":"t-1"') and len(kept["raw"]) == 2000
    with pytest.raises(LookupError, match="0 cases without a corrected answer begin with 'zz'"):
        correct_case(store, "zz", "x")
    with pytest.raises(ValueError, match=r"U\+202E"):
        correct_case(store, kept["case"][:8], "a\u202eb")
    assert len(correct_case(store, kept["case"][:8], ZH["gold"], by="甲").new) == 1
    (now,) = read_inbox(store)
    assert read_quarantine(store) == []
    assert {name: now[name] for name in ZH} == case and now["found_by"] == "甲"


def test_where_the_correction_stands_may_be_named_and_what_was_unreadable_passes_through():
    record = {"messages": turns("hi", "ho"), "meta.v1": {"fix": {"content": "ok", "role": "ai"}}}
    broken = Record("2", None, "broken JSON", "{")
    (_, case), (_, same) = read_forms([("1", record), ("2", broken)], gold="meta.v1.fix")
    assert case["gold"] == "ok" and same is broken
    with pytest.raises(ValueError, match="did you mean 'langfuse'"):
        read_forms([], form="langfuze")
