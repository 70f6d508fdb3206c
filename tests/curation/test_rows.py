"""The row: ids follow the trained-on content and nothing else."""

import pytest

from curation.rows import ROW_SCHEMA, clean_text, dialogue, guess_language, make_row, rows_frame


def test_same_text_from_two_sources_has_one_id():
    one = make_row(dialogue("打开空调", "好"), source="a", track="domain")
    two = make_row(dialogue("打开空调", "好"), source="b", track="general", license="MIT")
    assert one["id"] == two["id"]


def test_width_is_meaning_but_composition_is_not():
    composed, decomposed = dialogue("caf\u00e9", "ok"), dialogue("cafe\u0301", "ok")
    assert make_row(composed)["id"] == make_row(decomposed)["id"]
    assert make_row(dialogue("２２度", "ok"))["id"] != make_row(dialogue("22度", "ok"))["id"]


def test_prompt_id_ignores_the_answer():
    one, two = make_row(dialogue("开窗", "一")), make_row(dialogue("开窗", "二"))
    assert one["prompt_id"] == two["prompt_id"] and one["id"] != two["id"]


@pytest.mark.parametrize("bad", ["\x00", "\ud800", "\u202e", "\U000e0041", "\x1b"])
def test_unsafe_characters_are_refused_by_name(bad):
    with pytest.raises(ValueError, match=f"U\\+{ord(bad):04X}"):
        clean_text(f"打开{bad}空调")


def test_line_ends_and_bom_are_folded():
    assert clean_text("\ufeffa\r\nb\rc") == "a\nb\nc"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user", "content": "hi"}],
        [{"role": "assistant", "content": "hi"}],
        [{"role": "user", "content": "hi"}, {"role": "assistant", "content": " "}],
        [{"role": "robot", "content": "hi"}, {"role": "assistant", "content": "hi"}],
    ],
)
def test_a_conversation_without_question_or_answer_is_no_row(messages):
    with pytest.raises(ValueError):
        make_row(messages)


def test_a_frame_of_rows_has_the_schema_even_when_empty():
    assert rows_frame([]).schema == ROW_SCHEMA
    row = make_row(dialogue("a", "b"))
    assert rows_frame([row, row]).height == 1


def test_language_is_guessed_by_script():
    assert guess_language("打开空调") == "zh"
    assert guess_language("open the window") == "en"
    assert guess_language("22 !") == "other"
