"""Two tasks in one recipe, from the sources to the training set and the numbers of each part."""

import polars as pl

from assets.evaluate import parts_table
from curation.bad_cases import add_bad_cases
from curation.rows import ANSWER, UTTERANCE
from curation.tasks.several import several
from evaluation.cases import CASE_SCHEMA
from evaluation.compare import LABELS, measure_arms, measure_parts, pair_arms, weigh_pairs
from evaluation.metrics.exact_match import exact_match
from evaluation.metrics.json_valid import json_valid
from evaluation.metrics.slot_f1 import slot_f1
from tests.assets._project import RECIPE, SEEDS, Project, command, talk

SYSTEMS = {"command": "把指令转成 JSON。", "chat": "陪用户聊天。"}
TASK = {
    "use": "several",
    "tasks": {
        "command": {
            **RECIPE["task"],
            "closed": {"do": ["打开", "关闭"]},
            "when": "打开|关闭",
            "system": SYSTEMS["command"],
        },
        "chat": {"use": "free_text", "when": "[？?]$", "system": SYSTEMS["chat"]},
    },
}
SECTIONS = {
    "task": TASK,
    "scorers": {"length": {}, "task_valid": {}},
    "keep": ["length <= 100", "task_valid"],
    "guard": {"max_share": 1.0},
}
CHAT = [{"prompt": "今天天气真好，去哪里走走？", "answer": "附近有座公园，树荫很多。"},
        {"prompt": "what do you like to eat?", "answer": "Noodles, on rainy days."}]  # fmt: skip
FITS_NONE = {"prompt": "随便说两句", "answer": "好的。"}
NO_JSON = {"prompt": "请打开天窗和车灯", "answer": "好的，这就打开。"}


def project_of(tmp_path, base_model):
    project = Project(tmp_path, base_model, **SECTIONS)
    project.write("seeds/1.jsonl", [*SEEDS, *CHAT, FITS_NONE, NO_JSON])
    project.write("general/1.jsonl", talk(20))
    wrong = {**CHAT[0], "gold": CHAT[0]["answer"], "predicted": "{}"}
    more = [wrong | {"prompt": f"第{n}个问题，去哪里走走？"} for n in range(6)]
    add_bad_cases(project.store, [(str(n), case) for n, case in enumerate(more)])
    return project


def test_two_tasks_go_from_the_sources_to_one_training_set(tmp_path, tiny_base):
    project = project_of(tmp_path, tiny_base)
    project.build()
    kept = project.head("kept_rows").table("rows").filter(pl.col("track") == "domain")
    told = kept.select(
        prompt=UTTERANCE, answer=ANSWER, system=pl.col("messages").list.first().struct["content"]
    ).to_dicts()
    fits = {line["prompt"] for line in told}
    assert fits >= {line["prompt"] for line in (*SEEDS, *CHAT)}
    assert fits.isdisjoint({FITS_NONE["prompt"], NO_JSON["prompt"]})
    for line in told:  # made rows and corrected bad cases too have the instruction of their part
        assert line["system"] == SYSTEMS["command" if line["answer"][0] == "{" else "chat"]
    made = project.head("augmented_rows")
    assert {*made.table("rows")["origin"]} == {"badcase", "transform"}
    assert {*project.head("error_types").table("rows")["signature"]} == {"chat.too_short"}


def case(n, arm, line, predicted):
    said = {"id": f"{n:03d}", "arm": arm, "split": "test", "kind": "task", "source": "exam"}
    return said | {"prompt": line["prompt"], "gold": line["answer"], "predicted": predicted}


def test_an_answer_is_valid_or_not_for_the_part_of_its_question():
    task = several(tasks={"command": RECIPE["task"], "chat": {"use": "free_text"}})
    asked = enumerate([(SEEDS[0], "好的，这就打开。"), (CHAT[0], "嗯。")])
    said = [case(n, "candidate", *pair) for n, pair in asked]
    assert json_valid()(pl.DataFrame(said, schema=CASE_SCHEMA), task) == 0.5


def test_every_metric_and_the_slices_say_numbers_of_each_part(tmp_path, tiny_base):
    task = project_of(tmp_path, tiny_base).recipe.task
    commands = [command(f"第{n}盏车灯") for n in range(30)]
    chats = [CHAT[0] | {"prompt": f"第{n}个问题？"} for n in range(30)]
    lines = [*commands, *chats]
    old = [case(n, "champion", line, line["answer"]) for n, line in enumerate(lines)]
    new = [case(n, "candidate", line, line["answer"] if line in commands else "嗯")
           for n, line in enumerate(lines)]  # fmt: skip
    cases = pl.DataFrame([*old, *new], schema=CASE_SCHEMA)
    metrics = {"exact_match": exact_match(), "json_valid": json_valid(), "slot_f1": slot_f1()}
    parts = measure_parts(cases, ("champion", "candidate"), metrics, task)
    assert parts["command"]["candidate"] == {"exact_match": 1.0, "json_valid": 1.0, "slot_f1": 1.0}
    assert parts["chat"]["candidate"] == {"exact_match": 0.0, "json_valid": 1.0, "slot_f1": None}
    assert measure_arms(cases, ("candidate",), metrics, task)["candidate"]["exact_match"] == 0.5
    chat, _, rest = parts_table(parts).partition("**command**")
    assert "**chat**" in chat and "f1" not in chat and "f1" in rest
    none = pl.DataFrame(schema={"id": pl.String, "error_type": pl.String})
    pairs = pair_arms(
        cases,
        pl.DataFrame({"id": [], "cluster": []}, schema={"id": pl.String, "cluster": pl.String}),
        none,
        arms=("champion", "candidate"),
        metric=exact_match(),
        better="higher",
        task=task,
    )
    slices = {s["value"]: s["worse"] for s in weigh_pairs(pairs)[1] if s["label"] == "task"}
    assert slices == {"command": False, "chat": True} and "task" in LABELS
    assert weigh_pairs(pairs.drop("task"))[0] == weigh_pairs(pairs)[0]  # of a version from before
