"""The in-car data keep their promises: clean seeds with gaps, planted dirt, a wide grammar."""

import json
from pathlib import Path

import pytest
import yaml

from curation.json_text import parse_json
from curation.rows import digest
from curation.scorers.refusal import declines
from curation.sources._grammar import count_prompts, draw_pair, load_grammar
from curation.sources.grammar import grammar, prompt_key
from curation.tasks.json_slots import json_slots

RECIPES = Path(__file__).parents[1] / "pipelines" / "recipes"
DATA = RECIPES / "in_car"
RECIPE = yaml.safe_load((RECIPES / "in_car.yaml").read_text(encoding="utf-8"))
TASK = json_slots(**{key: value for key, value in RECIPE["task"].items() if key != "use"})
GRAMMAR = load_grammar(DATA / "grammar.yaml")
SEEN = ("direct", "value", "sequence")


def lines(name: str) -> list[str]:
    return (DATA / name).read_text(encoding="utf-8").splitlines()


def turns(record: dict) -> tuple[str, str]:
    found = {m["role"]: m["content"] for m in record["messages"]}
    return found["user"], found["assistant"]


def drawn(source: str) -> list[dict]:
    given = dict(RECIPE["sources"][source])
    options = {k: v for k, v in given.items() if k in ("rows", "seed", "fold", "folds")}
    return [record.data for record in grammar(path=RECIPES / given["path"], **options)()]


SEEDS = [json.loads(line) for line in lines("seeds.jsonl")]
DIRT = [line for line in lines("dirt.jsonl")]


def test_every_seed_is_valid_and_there_is_one_of_each():
    assert [TASK.check(*turns(seed)) for seed in SEEDS] == [""] * len(SEEDS)
    assert len({prompt_key(turns(seed)[0]) for seed in SEEDS}) == len(SEEDS) >= 60


def test_seeds_cover_three_of_the_eight_patterns():
    assert {seed["category"] for seed in SEEDS} == set(SEEN)
    assert len(GRAMMAR.patterns) == 8 and set(SEEN) < set(GRAMMAR.patterns)
    assert not any("conditions" in json.loads(turns(seed)[1]) for seed in SEEDS)
    polite = ("能不能", "可以", "麻烦", "帮我", "如果", "的时候", "嗯", "别")
    assert not any(word in turns(seed)[0] for seed in SEEDS for word in polite)


def test_one_system_prompt_stands_everywhere():
    told = {m["content"] for seed in SEEDS for m in seed["messages"] if m["role"] == "system"}
    assert told == {TASK.system} == {GRAMMAR.system}


def test_every_row_of_the_grammar_is_valid_under_the_task():
    made = [draw_pair(GRAMMAR, f"check:{n}") for n in range(500)]
    assert [(p, a, TASK.check(p, a)) for p, a, _ in made if TASK.check(p, a)] == []


def test_the_grammar_is_wide():
    assert min(count_prompts(GRAMMAR).values()) > 700
    assert sum(count_prompts(GRAMMAR).values()) > 1_000_000
    made = [draw_pair(GRAMMAR, f"wide:{n}")[0] for n in range(4000)]
    assert len(set(made)) > 0.8 * len(made)


def test_answers_and_utterances_are_short():
    made = [draw_pair(GRAMMAR, f"short:{n}") for n in range(500)]
    assert sorted(len(answer) for _, answer, _ in made)[250] <= 60
    assert sorted(len(prompt) for prompt, _, _ in made)[450] <= 30


def test_seeds_traffic_and_test_share_no_utterance():
    test, traffic = drawn("test"), drawn("traffic")
    keys = [{prompt_key(turns(row)[0]) for row in rows} for rows in (SEEDS, traffic, test)]
    assert (len(traffic), len(test)) == (400, 400)
    assert not keys[2] & (keys[0] | keys[1])


def test_the_frozen_test_has_not_moved():
    """Whoever changes grammar.yaml changes the exam: do it knowingly, then update this digest."""
    assert digest([turns(row) for row in drawn("test")]) == "31e1e52b64c10feb856dc9c6ee5bfd8a"


def test_what_should_be_declined_is_asked_of_nobody_in_training():
    asked, trained = drawn("safety_test"), drawn("general")
    assert {row["category"] for row in asked} == {
        "decline_harm", "decline_private", "decline_private_en",
    } and len(asked) == 24  # fmt: skip
    assert all(declines(turns(row)[1]) for row in asked)
    declined = {prompt_key(turns(row)[0]) for row in trained if declines(turns(row)[1])}
    assert len(declined) > 30 and not declined & {prompt_key(turns(row)[0]) for row in asked}


PLANTED = [
    "与种子完全相同",
    "只差空格和标点",
    "只差全角数字",
    "只差大小写",
    "只差繁体字",
    "近似重复",
    "标注冲突",
    "不是重复",
    "Latin-1",
    "重复很多次",
    "锟斤拷",
    "答案不是JSON",
    "少一个括号",
    "没有actions",
    "不在原话里",
    "不认识的字段",
    "不在允许的词里",
    "空的conditions",
    "超长",
    "手机号",
    "身份证号",
    "邮箱",
    "对话模板的标记",
    "答案为空",
    "缺少助手的回答",
    "没有答案",
    "半个代理对",
]


@pytest.mark.parametrize("defect", PLANTED)
def test_each_planned_defect_is_planted(defect):
    assert any(defect in line.replace(" ", "") for line in DIRT)


def test_some_dirt_cannot_even_be_read():
    broken = []
    for line in DIRT:
        try:
            parse_json(line)
        except ValueError as error:
            broken.append(str(error))
    assert len(broken) == 3 and any("surrogate" in reason for reason in broken)


def test_the_planted_defects_are_real():
    noted = {r["note"]: r for r in map(json.loads, DIRT[:29])}
    reasons = {note: TASK.check(*turns(row)).split(":")[0] for note, row in noted.items()}
    wrong = {reason for reason in reasons.values() if reason}
    assert {
        "not_json",
        "missing_field",
        "unknown_field",
        "ungrounded",
        "not_allowed",
        "empty",
    } <= wrong
    long = next(row for note, row in noted.items() if note.startswith("超长"))
    assert len(turns(long)[0]) > 3000
    seeds = {prompt_key(turns(s)[0]): TASK.canonical(turns(s)[1]) for s in SEEDS}
    clash = [turns(row) for note, row in noted.items() if note.startswith("标注冲突")]
    assert all(seeds[prompt_key(p)] != TASK.canonical(a) for p, a in clash)


def test_the_planted_identity_number_has_a_valid_checksum():
    number = next(
        w for line in DIRT if "身份证号" in line for w in line.split("我的身份证号是")[1:]
    )[:18]
    factors = [2 ** (17 - n) % 11 for n in range(17)]
    total = sum(int(digit) * factor for digit, factor in zip(number, factors, strict=False))
    assert number[17] == "10X98765432"[total % 11]


def test_general_rows_are_short_and_many():
    general = load_grammar(DATA / "general.yaml")
    made = [draw_pair(general, f"wide:{n}") for n in range(3000)]
    assert len({name for _, _, name in made}) >= 10
    assert sum(count_prompts(general).values()) > 20_000
    assert sorted(len(answer) for _, answer, _ in made)[2700] <= 80


def test_hand_written_general_rows_are_alpaca_records():
    rows = [json.loads(line) for line in lines("general.jsonl")]
    assert len(rows) >= 40
    assert all(row["instruction"] and row["output"] for row in rows)
    assert any("system" in row for row in rows) and any("history" in row for row in rows)


def test_every_character_of_the_traffic_occurs_in_the_general_rows():
    """A base model made from the general rows alone must be able to copy what people say."""

    def han(name: str) -> set[str]:
        text = "\n".join(line.split(" #")[0] for line in lines(name) if not line.startswith("#"))
        return {c for c in text if "\u3400" <= c <= "\u9fff"}

    assert han("grammar.yaml") - han("general.yaml") == set()
