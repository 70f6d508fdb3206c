"""Cases: the life of a bad case, the rows to blame for an answer, and who used a row."""

import asyncio
import json
import random

import pytest

from curation.bad_cases import add_bad_cases
from curation.lineage import blame_case, find_users, trace_case
from curation.lineage.blame import answer_shape
from curation.llm_ledger import Call, Ledger
from curation.registry import find_version
from curation.rows import dialogue, row_id
from curation.store import Store
from curation.upkeep import collect_garbage
from pipelines.cli_answers import say_users
from tests.curation.lineage_world import GENERAL, TASK, Plan, answer, case, publish

SEEDS = [(f"打开{what}", answer("打开", what)) for what in ("空调", "天窗", "车灯", "雨刮")]
AIR = row_id(dialogue(*SEEDS[0]))
RECIPE = {"mix": {"general": 0}}


def of_half(half):
    found = (case("请" * n + "把雨刮关了", answer("关闭", "雨刮")) for n in range(60))
    return next(c for c in found if c["half"] == half)


LEARN, HOLD = of_half("learn"), of_half("hold")
FIX = (LEARN["prompt"], LEARN["gold"], LEARN["id"], "fix")
VARIANT = ("请关闭副驾氛围灯", answer("关闭", "副驾氛围灯"), LEARN["row_id"], "augment_badcase")


def plan(**said):
    return Plan(**{"sources": {"seeds": SEEDS}, "recipe": RECIPE, **said})


def deliver(store, found):
    add_bad_cases(store, [("1", {k: found[k] for k in ("prompt", "gold", "predicted")})])


def test_a_case_that_waits_in_the_inbox_is_open(tmp_path):
    store = Store(tmp_path)
    deliver(store, LEARN)
    publish(store, plan())
    said = trace_case(store, "w", LEARN["prompt"])
    assert said is not None and said["state"] == "open" and said["delivered"]
    assert [v["in_snapshot"] for v in said["versions"]] == [False]


def test_a_held_case_says_so_and_made_no_row(tmp_path):
    store = Store(tmp_path)
    publish(store, plan(cases=[HOLD], answers={HOLD["prompt"]: "{}"}))
    said = trace_case(store, "w", HOLD["id"])
    assert said is not None and said["state"] == "held back, to be measured on"
    assert said["versions"][0]["rows"] == []


def test_a_case_leads_to_its_rows_and_their_fates(tmp_path):
    store = Store(tmp_path)
    deliver(store, LEARN)
    publish(store, plan(cases=[LEARN], made=[FIX, VARIANT], keep=["n_chars <= 400"]))
    said = trace_case(store, "w", LEARN["id"][:8])
    assert said is not None and said["state"] == "trained on in v1"
    kinds = [(r["kind"], r["verdict"]) for r in said["versions"][0]["rows"]]
    assert kinds == [("fix", "trained on"), ("augment_badcase", "trained on")]
    assert said["error_type"]["name"] == "not json"


def test_rows_that_were_all_dropped_leave_a_case_augmented(tmp_path):
    store = Store(tmp_path)
    strict = ["n_chars <= 45 and origin <> 'badcase'"]
    publish(store, plan(cases=[LEARN], made=[FIX], keep=strict))
    said = trace_case(store, "w", LEARN["prompt"])
    assert said is not None and said["state"] == "augmented"
    assert said["versions"][0]["rows"][0]["verdict"].startswith("dropped at kept_rows")


def test_a_case_is_fixed_and_may_regress(tmp_path):
    store = Store(tmp_path)
    failed = {HOLD["prompt"]: "{}"}
    publish(store, plan(cases=[HOLD], answers=failed))
    publish(store, plan(cases=[HOLD], recipe={"mix": {"general": 1}}))
    assert (said := trace_case(store, "w", HOLD["prompt"])) and said["state"] == "fixed in v2"
    publish(store, plan(cases=[HOLD], recipe={"mix": {"general": 2}}, answers=failed))
    assert (said := trace_case(store, "w", HOLD["prompt"])) and said["state"] == "regressed in v3"
    assert [v["answer"]["exact"] for v in said["versions"]] == [False, True, False]


def test_several_cases_are_told_apart_by_their_prompts(tmp_path):
    store = Store(tmp_path)
    publish(store, plan(cases=[LEARN, HOLD]))
    with pytest.raises(ValueError, match="is in 2 bad cases .*; give the whole of one"):
        trace_case(store, "w", "雨刮关")
    assert trace_case(store, "w", "没有这一条") is None


def test_a_contradicting_neighbour_is_blamed_before_a_nearer_one(tmp_path):
    wrong, right = answer("打开", "后排雨刮"), answer("关闭", "后排雨刮")
    seeds = [("把后排的雨刮关掉一下", wrong), ("把后排雨刮关掉吧", right), *SEEDS]
    test = [("把后排的雨刮关掉", right)]
    store = Store(tmp_path)
    publish(store, Plan(sources={"seeds": seeds, "test": test}, labels={"test": {"split": "test"}},
                        answers={test[0][0]: wrong}, recipe=RECIPE))  # fmt: skip
    said = blame_case(store, "w", test[0][0], task=TASK)
    assert said is not None and said["conflicts"] == 1 and not said["case"]["exact"]
    first, second = said["neighbours"][:2]
    assert first["conflict"] and first["says"] == "predicted" and first["answer"] == wrong
    assert not second["conflict"] and second["says"] == "gold"
    assert first["delivered"][0]["position"] == "seeds.jsonl:1" and "chars" in first["scores"]
    assert blame_case(store, "w", "没有这一条", task=TASK) is None


def test_the_shape_of_an_answer_keeps_closed_slots_and_hides_the_others():
    same = answer_shape(answer("打开", "空调"), ["do"]), answer_shape(answer("打开", "窗"), ["do"])
    assert same[0] == same[1] != answer_shape(answer("关闭", "空调"), ["do"])
    assert answer_shape("你好 ") == "你好"


def test_a_row_is_used_in_its_own_words_through_its_children_and_its_keeper(tmp_path):
    store = Store(tmp_path)
    seeds = {"seeds": SEEDS, "more": [("打开空调！", SEEDS[0][1])]}
    child = ("请打开副驾氛围灯", answer("打开", "副驾氛围灯"), AIR, "augment_seed")
    publish(store, plan(sources=seeds))
    publish(store, plan(sources=seeds, made=[child]))
    publish(store, plan(sources={"seeds": SEEDS[1:]}))
    said = find_users(store, "w", "打开空调")
    assert said["what"] == "row" and said["asked"] == 3
    ways = [(v["version"], v["trained"], v["through"]) for v in said["versions"]]
    assert ways == [("v1", 1, 0), ("v2", 1, 1)]
    merged = find_users(store, "w", "打开空调！")
    assert [(v["version"], v["trained"], v["stands_for"]) for v in merged["versions"]] == [
        ("v1", 0, 1), ("v2", 0, 1),
    ]  # fmt: skip


HAN = [chr(n) for n in range(0x4E00, 0x5E00)]
NAMES = ["".join(random.Random(n).choices(HAN, k=20)) for n in range(150)]
OF_LI = [(f"替李雷记下{name}", answer("打开", name)) for name in NAMES]
"""Rows in which a person is named, like one another in nothing else."""


def test_each_of_many_rows_with_a_name_is_followed_and_few_are_shown(tmp_path):
    store = Store(tmp_path)
    last = max(OF_LI, key=lambda pair: row_id(dialogue(*pair)))
    publish(store, plan(sources={"seeds": [*SEEDS, last]}))
    publish(store, plan(sources={"seeds": [*SEEDS, *OF_LI]}))
    said = find_users(store, "w", "李雷")
    assert [(v["version"], v["trained"]) for v in said["versions"]] == [("v1", 1), ("v2", 150)]
    assert said["n_rows"] == len(said["rows"]) == 150 and said["inside"] == 0
    few = find_users(store, "w", "李雷", limit=10)
    assert [(v["trained"], v["n_rows"], len(v["rows"])) for v in few["versions"]] == [
        (1, 1, 1), (150, 150, 10),
    ]  # fmt: skip
    lines = list(say_users(few, 10))
    assert "rows (10 of 150):" in lines and "rows of v2 (10 of 150):" in lines


def test_rows_that_hold_the_words_of_another_inside_theirs_are_counted(tmp_path):
    store = Store(tmp_path)
    publish(store, plan(sources={"seeds": [*SEEDS, ("李雷", "在"), *OF_LI]}))
    said = find_users(store, "w", "李雷")
    assert (said["n_rows"], said["inside"]) == (1, 150)
    assert any(line.startswith("  150 more hold it inside") for line in say_users(said))


def test_a_bad_case_from_outside_is_used_by_what_was_made_from_it(tmp_path):
    """Its prompt was never a row of its own: it is known by the inbox alone."""
    store = Store(tmp_path)
    publish(store, plan())
    publish(store, plan(cases=[LEARN], made=[VARIANT]))
    said = find_users(store, "w", LEARN["prompt"])
    assert said["what"] == "bad case"
    assert [(v["version"], v["trained"], v["through"]) for v in said["versions"]] == [("v2", 0, 1)]
    assert said["rows"][0]["text"] == [LEARN["prompt"], LEARN["gold"]]


def test_a_case_that_only_contains_the_text_of_a_row_is_another_person_s(tmp_path):
    store, other = Store(tmp_path), case("请打开空调吧", answer("打开", "空调"))
    publish(store, plan(cases=[{**other, "half": "learn"}]))
    said = find_users(store, "w", SEEDS[0][0])
    assert said["what"] == "row" and other["id"] not in [row["id"] for row in said["rows"]]
    assert find_users(store, "w", other["prompt"])["what"] == "bad case"


def test_a_row_that_a_judge_was_fitted_on_is_used(tmp_path):
    """The scorers still hold it as the measure of good text, though it is no longer delivered."""
    store = Store(tmp_path)
    publish(store, plan(reference=SEEDS))
    publish(store, plan(sources={"seeds": SEEDS[1:]}, reference=SEEDS))
    used = find_users(store, "w", SEEDS[0][0])["versions"]
    assert [(v["version"], v["trained"], v["judges"]) for v in used] == [("v1", 1, 1), ("v2", 0, 1)]


def test_a_row_that_only_the_base_model_read_is_inside_it(tmp_path):
    """The recipe draws no general row to train on."""
    store = Store(tmp_path)
    publish(store, plan())
    ways = ("trained", "through", "stands_for", "shown", "judges", "pretrained")
    (general,) = find_users(store, "w", GENERAL[3][0])["versions"]
    assert [general[way] for way in ways] == [0, 0, 0, 0, 0, True]
    (seed,) = find_users(store, "w", SEEDS[0][0])["versions"]
    assert [seed[way] for way in ways] == [1, 0, 0, 0, 0, False]


def test_a_pinned_version_is_still_asked_after_the_others_went(tmp_path):
    """What was deployed and is not the champion is known while it is pinned."""
    store = Store(tmp_path)
    for n in range(3):
        publish(store, plan(sources={"seeds": SEEDS[n:]}))
    store.pin("in-the-car", find_version(store, "w", "v1"))
    collect_garbage(store, keep=1)
    said = find_users(store, "w", SEEDS[0][0])
    assert [v["version"] for v in said["versions"]] == ["v1"] and said["asked"] == 2
    store.unpin("in-the-car")
    collect_garbage(store, keep=1)
    assert find_users(store, "w", SEEDS[0][0])["what"] == ""


def test_a_row_shown_as_an_example_in_a_call_is_used(tmp_path):
    inner = json.dumps({"prompt": SEEDS[0][0], "answer": {}}, ensure_ascii=False)
    request = {"messages": [{"role": "user", "content": f"<example>\n{inner}\n</example>"}]}
    ledger = Ledger(tmp_path / "calls.sqlite")
    text = json.dumps(request, ensure_ascii=False)
    asyncio.run(ledger.put(Call("k1", text, "{}", 1, 1, 0.0)))
    ledger.close()
    store = Store(tmp_path)
    publish(store, plan(cases=[LEARN], made=[VARIANT], call="k1"))
    (version,) = find_users(store, "w", "打开空调")["versions"]
    assert version["trained"] == 1 and version["shown"] == 1
    assert find_users(store, "w", "打开雨刮")["versions"][0]["shown"] == 0


def test_a_source_and_a_licence_lead_to_every_version(tmp_path):
    store = Store(tmp_path)
    labels = {"seeds": {"license": "CC-BY-4.0"}, "traffic": {"split": "heldout"}}
    sources = {"seeds": SEEDS, "traffic": [(LEARN["prompt"], LEARN["gold"])]}
    publish(store, plan(sources=sources, labels=labels))
    publish(store, plan(sources=sources, labels=labels, cases=[LEARN], made=[FIX, VARIANT]))
    (first, second) = find_users(store, "w", "CC-BY-4.0")["versions"]
    assert first["trained"] == second["trained"] == 4
    through = find_users(store, "w", "traffic")
    assert [(v["version"], v["trained"], v["through"]) for v in through["versions"]] == [
        ("v2", 1, 1)
    ]
    assert through["measured_by"] == ["v1", "v2"]
    assert all(v["pretrained"] for v in find_users(store, "w", "general")["versions"])


def test_what_nobody_knows_is_said_with_the_known_sources(tmp_path):
    store = Store(tmp_path)
    publish(store, plan())
    said = find_users(store, "w", "没有这一条")
    assert said["what"] == "" and said["sources"] == ["general", "seeds"]
