"""The grammar source: labelled by construction, keyed by draw number, checked at load."""

from pathlib import Path

import pytest

from curation.sources._grammar import count_prompts, load_grammar
from curation.sources.grammar import grammar, prompt_key

GOOD = """
system: 转成JSON
words:
  temp: [16..30度, 22.5度]
  thing: [空调, 暖风, 座椅]
  act:
    - {say: "打开{thing}", mean: {do: 打开, what: "{thing}"}, key: "{thing}"}
    - say: "把{thing}调到{temp}"
      mean: {do: 设为, what: "{thing}", value: "{temp}"}
      key: "{thing}"
  pair: [{zh: 大, en: big}, {zh: 小, en: small}]
  number: [1..9]
patterns:
  one: [{say: ["{act}", "{act}吧"], mean: {actions: ["{act}"]}}]
  two: [{say: "{act1}再{act2}", mean: {actions: ["{act1}", "{act2}"]}}]
  other:
    - {say: "{pair.zh}的英文", mean: "{pair.en}"}
    - {say: "{number1}+{number2}=", mean: "{number1+number2}"}
    - {say: "倒写{thing}", mean: "{thing|reverse}"}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "g.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def pairs(path: Path, **options) -> list[tuple[str, str]]:
    turns = [record.data["messages"] for record in grammar(path=path, **options)()]
    return [(messages[-2]["content"], messages[-1]["content"]) for messages in turns]


def test_text_and_answer_are_drawn_together(tmp_path):
    path = write(tmp_path, GOOD)
    for prompt, answer in pairs(path, rows=60, patterns=["one"]):
        thing = next(t for t in ("空调", "暖风", "座椅") if t in prompt)
        assert f'"what":"{thing}"' in answer
        assert ('"value"' in answer) == ("调到" in prompt)


def test_two_draws_of_one_word_differ_in_its_key(tmp_path):
    for prompt, _ in pairs(write(tmp_path, GOOD), rows=40, patterns=["two"]):
        assert all(prompt.count(thing) < 2 for thing in ("空调", "暖风", "座椅"))


def test_parts_sums_and_functions(tmp_path):
    made = dict(pairs(write(tmp_path, GOOD), rows=60, patterns=["other"]))
    assert made["大的英文"] == "big"
    assert made["倒写空调"] == "调空"
    sums = [(prompt, answer) for prompt, answer in made.items() if "+" in prompt]
    assert sums and all(int(p[0]) + int(p[2]) == int(answer) for p, answer in sums)


def test_more_rows_keep_the_earlier_ones(tmp_path):
    path = write(tmp_path, GOOD)
    assert pairs(path, rows=50, seed=3)[:20] == pairs(path, rows=20, seed=3)
    assert pairs(path, rows=20, seed=3) != pairs(path, rows=20, seed=4)


def test_prompts_are_distinct_and_positions_stable(tmp_path):
    read = grammar(path=write(tmp_path, GOOD), rows=80)
    first, again = list(read()), list(read())
    assert first == again
    assert len({r.data["messages"][-2]["content"] for r in first}) == 80
    assert (
        first[0].position.startswith("g.yaml#") and first[0].data["messages"][0]["role"] == "system"
    )


def test_folds_share_no_prompt(tmp_path):
    path = write(tmp_path, GOOD)
    folds = [{prompt_key(p) for p, _ in pairs(path, rows=30, folds=3, fold=f)} for f in range(3)]
    assert len(set.union(*folds)) == 90


def test_a_grammar_that_is_used_up_says_how_far_it_came(tmp_path):
    path = write(tmp_path, "patterns: {a: [{say: [甲, 乙], mean: 丙}]}")
    with pytest.raises(ValueError, match=r"2 distinct prompts; rows asks for 5"):
        pairs(path, rows=5)


def test_the_bound_counts_derivations(tmp_path):
    assert count_prompts(load_grammar(write(tmp_path, GOOD)))["one"] == 2 * (3 + 3 * 16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patterns: [", "is not YAML"),
        ("words: {}", "needs `patterns`"),
        ("pattern: {}\npatterns: {a: [{say: x, mean: y}]}", "did you mean 'patterns'"),
        ("patterns: {a: [{say: x}]}", "without `mean`"),
        ("words: {thing: [x]}\npatterns: {a: [{say: '{think}', mean: y}]}", "did you mean 'thing'"),
        ("words: {n: [1, 2]}\npatterns: {a: [{say: x, mean: y}]}", "quote numbers"),
        ("words: {n: [{say: x, ratio: 0}]}\npatterns: {a: [{say: x, mean: y}]}", "above 0"),
        ("words: {a: ['{b}'], b: ['{a}']}\npatterns: {p: [{say: '{a}', mean: y}]}", "circle"),
        ("words: {a: [{zh: x}]}\npatterns: {p: [{say: '{a.en}', mean: y}]}", "the part 'en'"),
        (
            "words: {a: [x]}\npatterns: {p: [{say: '{a|revert}', mean: y}]}",
            "did you mean 'reverse'",
        ),
        ("ratios: {b: 2}\npatterns: {a: [{say: x, mean: y}]}", "ratios names 'b'"),
    ],
)
def test_mistakes_are_found_at_load(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        grammar(path=write(tmp_path, text), rows=1)


def test_unknown_patterns_and_folds_are_refused(tmp_path):
    path = write(tmp_path, GOOD)
    with pytest.raises(ValueError, match="no pattern 'tow'"):
        grammar(path=path, rows=1, patterns=["tow"])
    with pytest.raises(ValueError, match="fold must lie in"):
        grammar(path=path, rows=1, fold=2, folds=2)
