"""The prose task: what counts as equal, and what an error is called."""

import pytest

from curation.tasks.free_text import free_text

TASK = free_text()


def test_any_text_is_valid_and_none_is_not():
    assert TASK.check("你好", "你好呀") == ""
    assert TASK.check("你好", " \n") == "empty"


def test_width_case_and_spaces_do_not_count_but_numbers_do():
    assert TASK.canonical("Ａ  cat") == TASK.canonical("a cat")
    assert TASK.canonical("26度") != TASK.canonical("22度")


@pytest.mark.parametrize(
    ("predicted", "signature"),
    [
        ("一共 36 个", ""),
        ("", "empty"),
        ("一共38个", "wrong_number"),
        ("个", "too_short"),
        ("一共36个，不多也不少，请放心", "too_long"),
        ("大约36只", "other_text"),
    ],
)
def test_the_signature_names_the_error(predicted, signature):
    assert TASK.signature("一共36个", predicted) == signature


def test_corruptions_are_wrong_and_repeatable():
    made = TASK.corrupt("一共36个", "12乘3？", seed=3)
    assert made == TASK.corrupt("一共36个", "12乘3？", seed=3)
    assert {kind for _, kind in made} == {"cut", "repeated", "echo", "other_number"}
    assert all(TASK.canonical(text) != TASK.canonical("一共36个") for text, _ in made)


def test_a_one_letter_answer_can_be_corrupted():
    assert dict(TASK.corrupt("是", "对吗？", seed=0))["对吗？"] == "echo"
