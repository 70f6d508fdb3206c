"""An inbox: what was delivered, once each, acknowledged when it is on disk.

A delivery is one immutable file of lines. A line is named by what it says, so the same one
delivered again adds nothing; a record that cannot be one is kept beside the others with its reason.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import PurePath
from typing import Any

import polars as pl

from curation.accounts import Tally, tally_rows
from curation.blobs import Corrupt
from curation.delivery import Delivery, Outcome, Unfinished
from curation.ingest import raw_text
from curation.json_text import printable
from curation.rows import canonical_json, digest
from curation.sources._base import Record
from curation.store import Store

Line = dict[str, Any]
PART_LINES = 20_000
"""Most lines of one file, so that a delivery of any size needs little memory."""


@dataclass(frozen=True)
class Inbox:
    """The `folder` of a store where deliveries lie, the `fields` that name a line, and what one is.

    A line also has its `id`, which is the digest of those fields that it has, and `at`, when it was
    delivered.
    """

    folder: str
    fields: tuple[str, ...]
    noun: str

    def add(
        self,
        store: Store,
        records: Iterable[tuple[str, Any]],
        read: Callable[[Mapping[str, Any]], Line],
        *,
        known: "Known | None" = None,
    ) -> Delivery:
        """Put (position, record) pairs in; returns only after they are on disk.

        `read` gives what a record says, its `fields` among it, or raises `ValueError` with the
        reason why it may not enter. That one, or a `Record` which its source could not read, is
        kept in quarantine with its position, its reason and the first 2,000 characters of its
        text, and the others go on; of an `Unfinished` one all that it `said` is kept. Who adds
        again and again keeps `known`, so that the inbox is not read each time.
        """
        known = known or Known(self, store)
        known.catch_up()
        outcomes: list[Outcome] = []
        waiting = iter(records)
        while part := list(islice(waiting, PART_LINES)):
            outcomes += self._add_part(store, part, read, known)
        return Delivery(self.noun, tuple(outcomes))

    def read(self, store: Store) -> list[Line]:
        """Every line of every delivery in its order, quarantined ones too.

        Raises `Corrupt` for a damaged one. A line is there twice when two processes delivered it
        at once.
        """
        return [line for key in self.deliveries(store) for line in self.read_delivery(store, key)]

    def read_delivery(self, store: Store, key: str) -> Iterator[Line]:
        """The lines of one delivery; `Corrupt` for a damaged one."""
        path = store.root / key
        if path.is_symlink() or not path.is_file():
            raise ValueError(f"{path.name!r} in the inbox is no file of its own; take it away")
        every = store.local.read(key).removesuffix(b"\n").split(b"\n")
        for number, line in enumerate(every, 1):
            yield self._read_line(line, f"line {number} of {key} in {str(store.root)!r}")

    def deliveries(self, store: Store) -> list[str]:
        """Keys of the files of lines, oldest first."""
        return [key for key in store.local.list(self.folder) if key.endswith(".jsonl")]

    def quarantined(self, store: Store) -> list[Line]:
        """Each record that was refused, in order of delivery: `position`, `reason` and `raw`.

        An `Unfinished` one has what it `said` besides.
        """
        lines = {name_line(line): line for line in self.read(store) if "id" not in line}
        return [
            {"reason": line["quarantined"], **{k: line[k] for k in line if k != "quarantined"}}
            for line in lines.values()
        ]

    def _add_part(
        self,
        store: Store,
        records: Iterable[tuple[str, Any]],
        read: Callable[[Mapping[str, Any]], Line],
        known: "Known",
    ) -> list[Outcome]:
        lines: dict[str, Line] = {}
        outcomes = []
        for position, record in records:
            line = self._read_record(printable(position), record, read)
            name = name_line(line)
            fresh = name not in known.names and name not in lines
            if fresh:
                lines[name] = line
            outcomes.append(_outcome(printable(position), line, fresh))
        if lines:
            known.add(self._deliver(store, lines.values(), known.following), lines)
        elif outcomes:  # perhaps known from a process killed before it was safe
            known.settle()
        return outcomes

    def _read_record(
        self, position: str, record: Any, read: Callable[[Mapping[str, Any]], Line]
    ) -> Line:
        """The line that a record comes to: what it says, or why it is quarantined."""
        data = record.data if isinstance(record, Record) else record
        reason, said = "not a JSON object", {}
        if isinstance(record, Record) and data is None:
            reason = printable(record.error) or "the source gave no data and no reason"
        elif isinstance(data, Mapping):
            try:
                line = read(data)
                return {"id": self._name(line), **line, "at": time.time()}
            except ValueError as error:
                reason = printable(str(error))
                said = error.said if isinstance(error, Unfinished) else {}
        if isinstance(record, Record) and record.raw:
            record = replace(record, data=None)  # its source kept what it was
        return {"quarantined": reason, "position": position, "raw": raw_text(record), **said}

    def _read_line(self, line: bytes, where: str) -> Line:
        try:
            record = json.loads(line)
            if "id" in record and record["id"] != self._name(record):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            said = f"it is no {self.noun} as it was delivered"
            raise Corrupt(f"{where} was damaged: {said}") from None
        return record

    def _name(self, said: Mapping[str, Any]) -> str:
        return digest({name: said[name] for name in self.fields if name in said})

    def _deliver(self, store: Store, lines: Iterable[Line], number: int) -> int:
        """One new file, whole or not at all; its number keeps deliveries in order."""
        data = "".join(canonical_json(line) + "\n" for line in lines).encode()
        with store.leases.adding():
            while not store.local.create(self.key(number), data):
                number += 1
        return number

    def key(self, number: int) -> str:
        """Key of the delivery with a number."""
        return f"{self.folder}/{number:08d}.jsonl"


class Known:
    """The names of all lines of an inbox, kept up to date by reading only what came since.

    Deliveries have numbers without a gap at the end, so what others delivered meanwhile is found
    without listing the folder again.
    """

    def __init__(self, inbox: Inbox, store: Store):
        self.names: set[str] = set()
        self.following = 0
        self._inbox, self._store = inbox, store
        self._unsettled: list[str] = []
        for key in inbox.deliveries(store):
            self._take(key)

    def catch_up(self) -> None:
        """Read what other processes delivered since."""
        while (self._store.root / self._inbox.key(self.following)).exists():
            self._take(self._inbox.key(self.following))

    def add(self, number: int, names: Iterable[str]) -> None:
        """These lines are on disk now, in the delivery with this number."""
        self.names.update(names)
        if number == self.following:  # else another process was first: its lines are to be read
            self.following += 1
        self._unsettled = []

    def settle(self) -> None:
        """Return once all that was read is safe, whoever wrote it."""
        self._store.local.settle(self._unsettled)
        self._unsettled = []

    def _take(self, key: str) -> list[Line]:
        lines = [*self._inbox.read_delivery(self._store, key)]
        self.names.update(map(name_line, lines))
        self._unsettled.append(key)
        if (stem := PurePath(key).stem).isdecimal():
            self.following = max(self.following, int(stem) + 1)
        return lines


def _outcome(position: str, line: Line, fresh: bool) -> Outcome:
    if "id" not in line:
        return Outcome(position, "quarantined", reason=line["quarantined"])
    return Outcome(position, "new" if fresh else "known", line["id"])


def name_line(line: Mapping[str, Any]) -> str:
    """The id of a line; of a quarantined one the digest of all it holds."""
    return line["id"] if "id" in line else digest(line)


def distinct_lines(delivered: Iterable[Mapping[str, Any]]) -> list[Line]:
    """The lines that were not refused, in order of delivery, once each."""
    lines: dict[str, Line] = {}
    for line in delivered:
        if "id" in line:
            lines.setdefault(line["id"], dict(line))
    return list(lines.values())


def tally_delivered(delivered: Iterable[Mapping[str, Any]]) -> dict[str, Tally]:
    """For an account: all that was `delivered`, and of it the `duplicate` and the `quarantined`.

    A quarantined line counts by the digest of what it holds.
    """
    names = [(name_line(line), "id" in line) for line in delivered]
    repeated = Counter(name for name, _ in names) - Counter({name for name, _ in names})
    return {
        "delivered": tally_lines(name for name, _ in names),
        "duplicate": tally_lines(repeated.elements()),
        "quarantined": tally_lines({name for name, good in names if not good}),
    }


def tally_lines(ids: Iterable[str]) -> Tally:
    """Lines of the inbox, each with its name."""
    schema = {"id": pl.String, "source": pl.String}
    return tally_rows(pl.DataFrame([(i, "inbox") for i in ids], schema=schema, orient="row"))
