"""Answers of an augmenter's model that nobody can read: asked for again, then kept with reason."""

from dataclasses import replace

import pytest

from curation.llm_options import CallOptions
from curation.scripted_llm import ScriptedLLM
from tests.curation.test_llm_augmenter import CASES, good_rows, key, run, work
from tests.curation.test_llm_bought import bought

__all__ = ["key"]


def talks_first(times):
    """A server that talks so many times before it writes rows."""
    left = [times]

    def respond(request):
        left[0] -= 1
        return "好的，我来写。" if left[0] >= 0 else good_rows(request)

    return respond


def test_what_cannot_be_read_is_asked_for_again(tmp_path, key):
    with ScriptedLLM(talks_first(2)) as server:
        made = run(server, key, work(tmp_path))
        assert server.count == 3
    assert len(made.rows) == 8 and len(made.bought) == 1


@pytest.mark.parametrize("most", [1, 2])
def test_what_nobody_could_read_is_refused_with_its_text_and_not_paid_for_again(
    tmp_path, key, most
):
    options = {"calls": CallOptions(max_answers=most)}
    with ScriptedLLM(talks_first(99)) as server:
        made = run(server, key, work(tmp_path / "first"), **options)
        assert server.count == most and not made.rows
        said = made.rejected[0]
        assert said["reason"] == f"call failed: malformed: not_json ({most} answers)"
        assert said["text"] == "好的，我来写。" and made.proposed == 1
        handed = bought(made, tmp_path / "first", CASES)
        later = run(server, key, replace(work(tmp_path / "later"), bought=handed), **options)
        assert server.count == most and later.rejected == made.rejected


def test_a_type_that_could_not_be_named_says_so(tmp_path, key):
    def respond(request):
        return good_rows(request) if '"rows"' in request["messages"][0]["content"] else "不知道"

    lines = []
    with ScriptedLLM(respond) as server:
        made = run(server, key, work(tmp_path, lines=lines), name_types=True)
    assert len(made.rows) == 8
    assert any("not named, call failed: malformed: not_json (3 answers)" in line for line in lines)
