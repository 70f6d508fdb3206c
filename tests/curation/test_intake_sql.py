"""Bad cases from a database: what came since the last time, and nothing twice."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from curation.bad_cases import read_inbox, read_quarantine
from curation.intake_memory import Memory
from curation.intake_sql import pull_sql
from curation.store import Store

SQL = "select id, prompt, gold, predicted from wrong where id > :cursor order by id"


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    insert(path, 1, "打开空调")
    insert(path, 2, "Open it")
    return path


def insert(path: Path, key: Any, prompt: Any, gold: str | None = "好") -> None:
    with sqlite3.connect(path) as db:
        db.execute("create table if not exists wrong (id, prompt, gold, predicted)")
        db.execute("insert into wrong values (?, ?, ?, 'no')", (key, prompt, gold))
    db.close()


def pull(store: Store, path: Path, sql: str = SQL, **more: Any) -> Any:
    return pull_sql(store, url=f"sqlite:///{path}", sql=sql, found_by="app", **more)


def test_a_pull_goes_on_where_the_last_one_ended(tmp_path, db):
    store = Store(tmp_path / "s")
    assert len(pull(store, db).new) == 2 and pull(store, db).outcomes == ()
    insert(db, 7, "关闭天窗")
    insert(db, 9, b"\x00", None)
    delivery = pull(store, db)
    assert [(one.position, one.outcome) for one in delivery.outcomes] == [
        ("id=7", "new"), ("id=9", "quarantined")
    ]  # fmt: skip
    assert pull(store, db).outcomes == () and len(read_inbox(store)) == 3
    (kept,) = read_quarantine(store)
    assert kept["reason"] == "column 'prompt' holds bytes, not text"
    assert pull(store, db, SQL.replace("wrong", "wrong ")).duplicate == 3  # another select


def test_texts_such_as_times_are_a_cursor_too(tmp_path, db):
    store, sql = Store(tmp_path / "s"), SQL.replace("wrong", "later")
    with sqlite3.connect(db) as connection:
        connection.execute("create table later as select * from wrong where id < 0")
        connection.execute("insert into later values ('2026-11-20', '打开', '好', '不')")
    assert len(pull(store, db, sql, start="").new) == 1
    with sqlite3.connect(db) as connection:
        connection.execute("insert into later values ('2026-11-21', '关闭', '好', '不')")
    connection.close()
    (one,) = pull(store, db, sql, start="").outcomes
    assert one.position == "id=2026-11-21"


def test_a_pull_that_was_killed_before_it_kept_its_place_adds_nothing_twice(
    tmp_path, db, monkeypatch
):
    store = Store(tmp_path / "s")
    with monkeypatch.context() as patch:
        patch.setattr(Memory, "move", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pull(store, db)
    assert len(read_inbox(store)) == 2
    assert pull(store, db).duplicate == 2 and len(read_inbox(store)) == 2


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select * from wrong", "no :cursor in"),
        ("select id from nowhere where id > :cursor", "the database says: no such table"),
        (SQL + " desc", "put `order by id` at the end"),
        (SQL.replace("select id", "select null as n"), "'n', the first column, is None"),
    ],
)
def test_a_mistake_is_one_line_and_the_cursor_stays(tmp_path, db, sql, said):
    store = Store(tmp_path / "s")
    with pytest.raises(ValueError) as stop:
        pull(store, db, sql)
    assert said in str(stop.value) and "\n" not in str(stop.value)
    assert len(pull(store, db).outcomes) == 2


@pytest.mark.parametrize("url", ["app.db", "oracle+nosuch://u:geheim@h/d", "mysql://u:geheim@h/d"])
def test_a_database_that_cannot_be_opened_is_one_line_without_the_password(tmp_path, url):
    with pytest.raises(ValueError) as stop:
        pull_sql(Store(tmp_path), url=url, sql=SQL)
    assert "geheim" not in str(stop.value) and "\n" not in str(stop.value)
