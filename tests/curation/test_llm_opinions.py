"""What is looked at last in a written row: how it reads, what others answer, what a judge says."""

import json
from dataclasses import replace

import pytest

from curation.augmenters._llm_opinions import JudgeOptions
from curation.augmenters.back_translate import back_translate
from curation.augmenters.distill import distill
from curation.augmenters.llm import llm
from curation.augmenters.self_instruct import self_instruct
from curation.rows import canonical_json, dialogue, make_row, rows_frame
from curation.scripted_llm import ScriptedLLM
from tests.curation.test_back_translate import EN, WAYS, ZH, slots
from tests.curation.test_distill import prose, said_in, teach
from tests.curation.test_llm_augmenter import CASES, SYSTEM, answer, good_rows, key, run, work
from tests.curation.test_llm_bought import bought
from tests.curation.test_llm_checks import kind_of, reasons, responder, script

__all__ = ["key"]


def degree_of(request):
    return int(request["messages"][1]["content"].split("水温设为")[1].split("度")[0])


def judge_of(request):
    return '"score"' in request["messages"][0]["content"]


def judged_by(grade, **answers):
    """The server of `script` whose judge gives `grade` of the degree that a row is about."""
    writes = responder(**answers)
    return ScriptedLLM(lambda r: {"score": grade(degree_of(r), r)} if judge_of(r) else writes(r))


def test_the_judge_is_asked_last_and_what_it_refuses_is_told_to_the_next_call(tmp_path, key):
    """Even rows are good, of odd ones the two grades are apart; the votes refuse 100 and 101."""

    def vote(request):
        degree = degree_of(request)
        return {"answer": json.loads(answer("水温", f"{degree if degree > 101 else 99}度"))}

    def grade(degree, request):
        best_first = "5" in request["messages"][0]["content"].split("# 规则")[0].split("1")[0]
        return 5 if degree % 2 == 0 or best_first else 2

    options = {"votes": 1, "per_call": 6, "max_calls": 2, "judge": JudgeOptions(model="other")}
    with judged_by(grade, vote=vote) as server:
        made = run(server, key, work(tmp_path), **options)
        graded = [r for r in server.requests if judge_of(r)]
        told = [r["messages"][1]["content"] for r in server.requests if kind_of_rows(r)]
        count = server.count
        later = replace(work(tmp_path / "later"), bought=bought(made, tmp_path, CASES))
        again = run(server, key, later, **options | {"max_calls": 0})
        assert server.count == count
    assert {r["model"] for r in graded} == {"other"}
    assert {degree_of(r) for r in graded}.isdisjoint({100, 101}) and len(graded) % 2 == 0
    assert [int(r["messages"][1]["content"][4:-1]) for r in made.rows][:2] == [102, 104]
    assert reasons(made).count("disputed") == 2 and reasons(made).count("judge:undecided") >= 2
    assert "judge:undecided" in told[1] and "judge:undecided" not in told[0]
    assert again.rows == made.rows and made.proposed == len(made.rows) + len(made.rejected)


def kind_of_rows(request):
    return not judge_of(request) and kind_of(request) == "rows"


def test_a_low_grade_refuses_and_a_spent_budget_too(tmp_path, key):
    prices = {"usd_per_m_prompt": 1.0, "usd_per_m_completion": 1.0}
    with judged_by(lambda degree, _: 3 if degree % 2 else 4) as server:
        made = run(server, key, work(tmp_path), judge=JudgeOptions(), max_calls=1)
        spent = run(
            server, key, work(tmp_path / "b"), judge=JudgeOptions(), budget_usd=0.006, **prices
        )
    assert reasons(made).count("judge:below_4") == 4 == len(made.rows)
    assert 0 < reasons(spent).count("unanswered") < 8  # one of them was within the budget
    assert spent.proposed == len(spent.rows) + len(spent.rejected)


def reference():
    """Three hundred rows that say the same kind of thing."""
    said = ((f"水温设为{n}度", json.loads(answer("水温", f"{n}度"))) for n in range(300))
    pairs = ((prompt, canonical_json(value)) for prompt, value in said)
    return rows_frame(make_row(dialogue(p, a, system=SYSTEM)) for p, a in pairs)


def test_a_row_that_reads_like_no_trusted_row_is_refused_before_anybody_is_asked(tmp_path, key):
    def respond(request):
        rows = good_rows(request)["rows"]
        odd = "爨龘驫麤犇骉𠔻蠿鱻羴"
        made = {"prompt": odd, "answer": json.loads(answer(odd, odd))}
        return {"rows": [made | {"from": 1}, *rows[:4]]}

    given = replace(work(tmp_path), reference=reference())
    with script(rows=respond) as server:
        made = run(server, key, given, perplexity=[0.0, 0.99], votes=1, max_calls=2, per_call=5)
        votes = [r for r in server.requests if kind_of(r) == "vote"]
        rows = [r for r in server.requests if kind_of(r) == "rows"]
    odd = [said for said in made.rejected if said["reason"] == "perplexity:above_0.99"]
    assert sum("爨" in said["text"] for said in odd) == 2
    assert len(votes) == len(made.rows) >= 6 and len(made.rows) + len(made.rejected) == 10
    assert "perplexity:above_0.99" in rows[1]["messages"][1]["content"]
    with script() as server, pytest.raises(ValueError, match="no trusted rows"):
        run(server, key, work(tmp_path / "none"), perplexity=[0.0, 0.99])


def test_a_distilled_answer_stays_where_the_teacher_gives_it_again(tmp_path, key):
    given = prose(tmp_path)

    def respond(request):
        again = "seed" in request and request["seed"] <= 2
        wavers = again and said_in(request).startswith("3")
        return {"answer": "不知道"} if wavers else teach(request)

    with ScriptedLLM(respond) as server:
        ask = distill(model="m", base_url=server.base_url, api_key=key, votes=3)
        made = ask(given)
        assert server.count == 4 + 4 * 3
        assert ask(replace(given, bought=bought(made, tmp_path, []))).rows == made.rows
        assert server.count == 16
    assert len(made.rows) == 3 and reasons(made) == ["disputed"] and made.proposed == 4


def test_a_way_back_stays_where_the_model_answers_it_like_the_seed(tmp_path, key):
    """Of the English one the model hears another number; it is shown the other seed alone."""
    given = slots(tmp_path, ZH, EN)
    answers = {WAYS[WAYS[ZH]]: answer("空调", "20度"), WAYS[WAYS[EN]]: answer("radio", "17")}

    def respond(request):
        said = said_in(request) if "seed" not in request else last(request)
        return {"answer": answers[said]} if "seed" in request else {"text": WAYS[said]}

    def last(request):
        return json.loads(request["messages"][1]["content"].split("<data>\n")[-1].split("\n<")[0])

    with ScriptedLLM(respond) as server:
        made = back_translate(model="m", base_url=server.base_url, api_key=key, votes=1)(given)
        votes = {last(r): r["messages"][1]["content"] for r in server.requests if "seed" in r}
    assert [r["messages"][1]["content"] for r in made.rows] == [WAYS[WAYS[ZH]]]
    assert reasons(made) == ["disputed"]
    assert EN in votes[WAYS[WAYS[ZH]]] and ZH not in votes[WAYS[WAYS[ZH]]]


@pytest.mark.parametrize("augmenter", [llm, self_instruct, distill, back_translate])
def test_what_cannot_be_asked_is_said_at_the_door(augmenter):
    for band in ([0.5], [0.9, 0.1], [0, 2]):
        with pytest.raises(ValueError, match=r"augment\.perplexity"):
            augmenter(model="m", perplexity=band)
    with pytest.raises(ValueError, match=r"augment\.votes"):
        augmenter(model="m", votes=-1)
    with pytest.raises(ValueError, match="grades go from 1 to 5"):
        JudgeOptions(min_score=7)
