"""Bad cases by SQL: the rows of a select that came after those of the last time.

The first column is the cursor. It is kept once all rows are safe in the inbox, so a pull that was
killed begins where the last whole one ended, and what it reads again adds nothing.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from curation.bad_cases import add_bad_cases
from curation.delivery import Delivery
from curation.intake_forms import AUTO, read_forms
from curation.intake_memory import open_memory
from curation.rows import digest
from curation.sources._base import Record
from curation.store import Store

_AT_ONCE = 1_000
_TIME = "time"


@dataclass
class _Place:
    """How far the reading has come."""

    cursor: Any


def pull_sql(
    store: Store,
    *,
    url: str,
    sql: str,
    start: int | str = 0,
    form: str = AUTO,
    gold: str = "",
    found_by: str = "",
) -> Delivery:
    """Put the rows of a select into the inbox; the same select goes on where it ended.

    `url` is SQLAlchemy's, `sql` a select with `:cursor` in it and in the order of its first column,
    which is whole numbers, texts or times; `start` is the first cursor. Raises `ValueError` for
    what the database refuses, for another order and for another kind of first column.
    """
    if ":cursor" not in sql:
        raise ValueError(f"no :cursor in {sql!r:.80}; such as `where id > :cursor order by id`")
    engine = _engine(url)
    name = digest([engine.url.render_as_string(hide_password=True), sql])
    with open_memory(store.root) as memory:
        kept = memory.cursor(name)
        begin = start if kept is None else _read_cursor(kept)
        place = _Place(begin)
        rows = _rows(engine, sql, place)
        records = read_forms(rows, form=form, gold=gold)
        delivery = add_bad_cases(store, records, found_by=found_by)
        if place.cursor != begin:
            memory.move(name, _write_cursor(place.cursor))
    return delivery


def _engine(url: str) -> Any:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return create_engine(url)
    except SQLAlchemyError:  # its words may hold the URL with the password
        raise ValueError("no database URL; such as sqlite:///app.db or postgresql://…") from None
    except ModuleNotFoundError as error:
        raise ValueError(f"the database needs the package {error.name!r}: install it") from None


def _rows(engine: Any, sql: str, place: _Place) -> Iterator[tuple[str, Any]]:
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with engine.connect() as connection:
            stream = connection.execution_options(yield_per=_AT_ONCE)
            found = stream.execute(text(sql), {"cursor": place.cursor})
            for row in found.mappings():
                key, value = next(iter(row.items()))
                _move(place, key, value)
                yield f"{key}={value}", _record(f"{key}={value}", row)
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()
        raise ValueError(f"the database says: {said[0][:300] if said else error}") from None
    finally:
        engine.dispose()


def _move(place: _Place, key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | str | datetime):
        raise ValueError(f"{key!r}, the first column, is {value!r:.40}: no number, text or time")
    if type(value) is type(place.cursor) and value < place.cursor:
        raise ValueError(
            f"{key!r} goes from {place.cursor!r} to {value!r}: put `order by {key}` at the end"
        )
    place.cursor = value


def _record(position: str, row: Mapping[str, Any]) -> Record:
    try:
        return Record(position, {key: _plain(key, value) for key, value in row.items()})
    except ValueError as error:
        return Record(position, None, str(error), str(dict(row))[:2000])


def _plain(key: str, value: Any) -> Any:
    """A value as JSON can hold it; a JSON column is decoded by its driver."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal | timedelta):
        return str(value)
    if value is None or isinstance(value, str | int | float | list | dict):
        return value
    raise ValueError(f"column {key!r} holds {type(value).__name__}, not text")


def _write_cursor(value: Any) -> str:
    return json.dumps({_TIME: value.isoformat()} if isinstance(value, datetime) else value)


def _read_cursor(kept: str) -> Any:
    value = json.loads(kept)
    return datetime.fromisoformat(value[_TIME]) if isinstance(value, dict) else value
