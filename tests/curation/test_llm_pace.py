"""The window, the pause, the rate and the limits: nothing is lost and little is refused."""

import asyncio
import time

import pytest

from curation.json_text import read_json
from curation.llm import CallOptions, complete_all
from curation.llm_pace import Pace
from curation.scripted_llm import ScriptedLLM


def run(server, count, cache, *, concurrency=64, **calls):
    requests = [
        {"messages": [{"role": "user", "content": f"问{i}"}], "max_tokens": 100}
        for i in range(count)
    ]
    return complete_all(
        requests,
        base_url=server.base_url,
        api_key="none",
        model="m",
        cache=cache / "c.sqlite",
        concurrency=concurrency,
        calls=CallOptions(**calls),
    )


def times_of(server):
    """A list that fills with the seconds at which requests arrive."""
    times = []

    def respond(_request):
        times.append(time.monotonic())
        return "ok"

    server.respond = respond
    return times


def test_an_endpoint_with_a_limit_that_nobody_told_loses_no_row_and_refuses_few(tmp_path):
    with ScriptedLLM(lambda _: "ok", latency_s=0.05, requests_per_s=50) as server:
        replies = run(server, 200, tmp_path)
        assert {r.error for r in replies} == {""}
        assert 0 < server.limited <= 40, "64 at a time without a window: 100 and more"
        assert server.count == 200 + server.limited  # none is paid for twice


def test_requests_per_minute_are_spread_evenly(tmp_path):
    with ScriptedLLM(lambda _: "ok") as server:
        times = times_of(server)
        run(server, 13, tmp_path, requests_per_minute=600)
    assert 1.0 <= times[-1] - times[0] < 3


def test_tokens_per_minute_count_what_an_answer_may_have_until_it_is_there(tmp_path):
    with ScriptedLLM(lambda _: "ok", latency_s=0.4) as server:
        times = times_of(server)
        run(server, 3, tmp_path, tokens_per_minute=30_000)  # 500 a second, about 105 a call
    assert 0.3 <= times[-1] - times[0] < 2


def enter(pace, tokens=0.0):
    return pace.enter(tokens, lambda: False)


def test_tokens_that_were_not_used_are_given_back():
    async def seconds():
        pace = Pace(8, tokens_per_minute=60_000)
        start = time.monotonic()
        pace.answered(await enter(pace, 30_000), 10)
        await enter(pace, 30_000)
        return time.monotonic() - start

    assert asyncio.run(seconds()) < 1  # the first alone would be half a minute


def test_calls_that_were_overrun_together_shrink_the_window_once():
    clock = [1000.0]

    async def windows():
        pace = Pace(16, clock=lambda: clock[0])
        turns = []
        for _ in range(12):
            clock[0] += 1.0
            turns.append(await enter(pace))
        for turn in turns[:5]:
            clock[0] += 1.0  # however late they come
            pace.limited(turn, 0.0)
        once = pace.window
        pace.answered(turns[5], 0)
        return once, pace.window, pace.busy

    once, later, busy = asyncio.run(windows())
    assert once == pytest.approx(16 * 0.7) and busy == 6
    assert later == pytest.approx(once + 1 / once)  # from now on one for a window of answers


def test_a_window_that_is_full_lets_nobody_in_until_somebody_leaves():
    async def waited():
        pace = Pace(1)
        turn, start = await enter(pace), time.monotonic()
        asyncio.get_running_loop().call_later(0.15, pace.answered, turn, 0)
        await enter(pace)
        return time.monotonic() - start

    assert 0.1 < asyncio.run(waited()) < 1


def test_the_rate_is_a_little_less_than_what_was_admitted_up_to_a_refusal():
    clock = [1000.0]

    async def rate():
        pace = Pace(1000, clock=lambda: clock[0])
        for _ in range(200):
            clock[0] += 0.01
            pace.answered(await enter(pace), 0)
        pace.limited(await enter(pace), 0.0)
        return pace.rate

    assert asyncio.run(rate()) == pytest.approx(100 * 0.97, rel=0.02)


@pytest.mark.parametrize("wrong", [{"requests_per_minute": 0}, {"tokens_per_minute": -1.0}])
def test_a_limit_of_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="has to be more than 0"):
        CallOptions(**wrong)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('```json\n{"行": [1, 2,],}\n```', {"行": [1, 2]}),
        ('Here you are: ["a,]", "b"]. Bye', ["a,]", "b"]),
        ('{"a": "quoted \\" ,}"}', {"a": 'quoted " ,}'}),
    ],
)
def test_what_a_model_wraps_around_json_is_left_out(text, value):
    assert read_json(text) == value


@pytest.mark.parametrize("text", ["", "好的", '{"a": 1, "a": 2}', '{"a": [1, 2', "]["])
def test_what_is_no_json_stays_none(text):
    with pytest.raises(ValueError, match="not_json"):
        read_json(text)
