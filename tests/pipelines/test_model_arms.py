"""Arms: what is in hand ends where it began, and what cannot be served changes nothing."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from curation.registry import find_version
from curation.rows import digest
from curation.store import Store, Version
from pipelines.model_arms import Arm, Follower, Serving, draw_arm
from pipelines.model_server import ModelServer
from tests.pipelines._model_serving import register


class Listed(ModelServer):
    """A server that only remembers whether it was stopped, or has ended."""

    def __init__(self, label: str):
        super().__init__("http://127.0.0.1:9/v1", label)
        self.stopped, self.ended = False, ""

    def problem(self) -> str:
        return self.ended

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "store")
    register(found, 1)
    return found


def until(true: Callable[[], object]) -> bool:
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(true())


def following(store: Store, start: Callable[[str, Version], ModelServer], said: list[str]):
    """An arm that serves v1 and follows the champion, looked at without pause."""
    version = find_version(store, "tiny", "champion")
    arm = Arm("a", "champion", Serving(version, Listed("v1")))
    follower = Follower(
        [arm], lambda name: find_version(store, "tiny", name), start, report=said.append,
        every_s=0.01, retry_s=0.2,
    )  # fmt: skip
    follower.start()
    return arm, follower


def test_what_an_old_server_has_in_hand_ends_there(store: Store):
    said: list[str] = []
    arm, follower = following(store, lambda arm, version: Listed("new"), said)
    old = arm.serving.server
    assert isinstance(old, Listed)
    with arm.taking() as taken:
        register(store, 2)
        assert until(lambda: arm.serving.number == 2)
        time.sleep(0.1)
        assert taken.server is old and not old.stopped
        with arm.taking() as later:
            assert later.number == 2
    assert until(lambda: old.stopped)
    new = arm.serving.server
    follower.close()
    assert isinstance(new, Listed) and new.stopped
    assert said == ["v2 answers in place of v1"]


def test_what_cannot_be_served_is_said_once_and_tried_again(store: Store):
    said: list[str] = []
    tries: list[int] = []

    def start(arm: str, version: Version) -> ModelServer:
        tries.append(version.values["number"])
        if len(tries) < 3:
            raise ChildProcessError("out of memory")
        return Listed("new")

    arm, follower = following(store, start, said)
    register(store, 2)
    assert until(lambda: len(tries) == 1)
    assert arm.serving.number == 1 and until(lambda: arm.serving.number == 2)
    follower.close()
    line = "v2 cannot be served, v1 goes on: out of memory"
    assert tries == [2, 2, 2] and said == [line, "v2 answers in place of v1"]


def test_a_server_that_ended_is_started_anew(store: Store):
    said: list[str] = []
    arm, follower = following(store, lambda arm, version: Listed("new"), said)
    old = arm.serving.server
    assert isinstance(old, Listed)
    old.ended = "it was ended by signal 9"
    assert until(lambda: arm.serving.server is not old)
    follower.close()
    assert said == ["v1 answers again"]


def test_the_draw_goes_by_the_unit_alone(store: Store):
    version = find_version(store, "tiny", "v1")
    arms = [Arm(label, "v1", Serving(version, Listed(label))) for label in "ab"]
    drawn = [draw_arm(arms, digest(f"用户{n}"), split=0.1).label for n in range(2000)]
    assert 150 < drawn.count("b") < 250
    more = [draw_arm(arms, digest(f"用户{n}"), split=0.3).label for n in range(2000)]
    assert all(now == "b" for was, now in zip(drawn, more, strict=True) if was == "b")
