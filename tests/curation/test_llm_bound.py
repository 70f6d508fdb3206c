"""The most that an augmenter asks, against what it did ask."""

import pytest

from curation.augmenters._llm_bound import most_asked
from curation.augmenters._llm_opinions import JudgeOptions
from curation.augmenters.back_translate import back_translate
from curation.augmenters.distill import distill
from curation.augmenters.self_instruct import self_instruct
from curation.llm_options import CallOptions
from curation.scripted_llm import ScriptedLLM
from tests.curation.test_back_translate import EN, WAYS, ZH, slots
from tests.curation.test_distill import prose, said_in, teach
from tests.curation.test_llm_augmenter import key
from tests.curation.test_llm_opinions import judge_of

__all__ = ["key"]


def calls_of(most):
    return {one.kind: one.calls for one in most}


def test_each_seed_gets_a_call_its_votes_and_two_grades(tmp_path, key):
    said = {"model": "m", "api_key": key, "votes": 3, "judge": JudgeOptions(), "max_calls": 3}
    with ScriptedLLM(lambda r: {"score": 5} if judge_of(r) else teach(r)) as server:
        distill(base_url=server.base_url, **said)(prose(tmp_path))
        assert calls_of(most_asked(distill, said)) == {"rows": 3, "vote": 9, "judge": 6}
        assert server.count == 18


def test_a_way_there_and_back_is_two_calls_for_one_row(tmp_path, key):
    said = {"model": "m", "api_key": key, "votes": 2, "judge": JudgeOptions(), "max_calls": 5}
    answers = {WAYS[WAYS[ZH]]: "20度", WAYS[WAYS[EN]]: "7"}

    def respond(request):
        return {"answer": answers} if "seed" in request else {"text": WAYS[said_in(request)]}

    with ScriptedLLM(respond) as server:
        back_translate(base_url=server.base_url, **said)(slots(tmp_path, ZH, EN))
        assert server.count == 4 + 4  # every vote was against it, so nothing was graded
    most = calls_of(most_asked(back_translate, said))
    assert most == {"rows": 5, "vote": 4, "judge": 4}


def test_a_batch_and_a_judge_have_prices_of_their_own():
    said = {"model": "gpt-4o", "max_calls": 10, "per_call": 5, "max_tokens": 1000}
    judge = JudgeOptions(model="other", usd_per_m_completion=2.0)
    rows, grades = most_asked(self_instruct, {**said, "judge": judge})
    assert rows.usd_to_write == pytest.approx(10 * 1000 * 10e-6)
    assert (grades.model, grades.calls) == ("other", 100)
    assert grades.usd_to_write == pytest.approx(100 * 64 * 2e-6)
    (half,) = most_asked(self_instruct, {**said, "calls": CallOptions(batch=True)})
    assert half.usd_to_write == pytest.approx(10 * 1000 * 5e-6)
    rows, grades = most_asked(self_instruct, {**said, "judge": JudgeOptions(model="unlisted")})
    assert grades.usd_to_write is None
