"""The log of a served model: on disk when it says so, from several writers, with feedback."""

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from curation.served import Answer, Feedback, ServedLog, find_answer, read_rated

ONE = Answer(
    id="一", at=1.0, arm="a", version=7, version_id="7" * 32, unit="u", status=200, error="",
    latency_s=0.5, prompt_tokens=3, completion_tokens=None, messages="[]", answer="好的",
)  # fmt: skip
KILLED = """
import os, sys
from dataclasses import replace
from pathlib import Path
from curation.served import ServedLog
from tests.curation.test_served import ONE
log = ServedLog(Path(sys.argv[1]))
for n in range(300):
    log.put(replace(ONE, id=f"{n}"))
log.put(replace(ONE, id="last")).result()
os.kill(os.getpid(), 9)
"""


def test_what_is_done_is_on_disk_though_the_process_is_killed(tmp_path: Path):
    path = tmp_path / "answers.sqlite"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=Path(__file__).parents[2])
    assert read_rated(path).height == 301 and find_answer(path, "last")


def test_two_logs_write_one_file_and_lose_nothing(tmp_path: Path):
    logs = [ServedLog(tmp_path / "answers.sqlite") for _ in range(2)]
    waiting = [logs[n % 2].put(replace(ONE, id=f"{n}", at=float(n))) for n in range(200)]
    for done in waiting:
        done.result()
    for log in logs:
        log.close()
    assert read_rated(logs[0].path)["id"].to_list() == [f"{n}" for n in range(200)]


def test_the_last_feedback_counts_and_an_answer_is_read_as_it_was(tmp_path: Path):
    log = ServedLog(tmp_path / "answers.sqlite")
    log.put(ONE)
    log.put(Feedback("一", 2.0, "up"))
    log.put(Feedback("一", 3.0, "corrected", "好")).result()
    assert read_rated(log.path)["rating"].to_list() == ["corrected"]
    assert find_answer(log.path, "一") == ONE and find_answer(log.path, "二") is None
    log.close()
    assert read_rated(tmp_path / "none.sqlite").is_empty()


def test_a_write_that_fails_is_told_and_the_next_goes_on(tmp_path: Path):
    log = ServedLog(tmp_path / "answers.sqlite")
    with pytest.raises(sqlite3.Error):
        log.put(replace(ONE, at=None)).result()  # type: ignore[arg-type]
    with pytest.raises(UnicodeEncodeError):
        log.put(replace(ONE, answer="\ud83d")).result()
    assert log.failed
    log.put(ONE).result()
    assert not log.failed and find_answer(log.path, "一") == ONE
    log.close()


def test_a_file_that_is_no_log_is_one_line(tmp_path: Path):
    (tmp_path / "answers.sqlite").write_text("no database, 不是数据库" * 50)
    with pytest.raises(OSError, match="cannot be used: file is not a database"):
        ServedLog(tmp_path / "answers.sqlite")
