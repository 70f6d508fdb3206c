"""An inbox: what was delivered, once each, acknowledged when it is on disk.

A delivery is one immutable file of lines. A line is named by what it says, so the same one
delivered again adds nothing; a record that cannot be one is kept beside the others with its reason.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from curation.accounts import Tally, tally_rows
from curation.blobs import Corrupt
from curation.ingest import raw_text
from curation.json_text import printable
from curation.rows import canonical_json, digest
from curation.sources._base import Record
from curation.store import Store

Line = dict[str, Any]


@dataclass(frozen=True)
class Delivery:
    """What became of delivered records: ids that are new, how many were known, what was refused."""

    noun: str
    new: tuple[str, ...]
    duplicate: int
    quarantined: tuple[tuple[str, str], ...]  # (position, reason)

    def line(self) -> str:
        """One line for people."""
        known, refused = self.duplicate, len(self.quarantined)
        return f"{len(self.new)} new {self.noun}s, {known} already known, {refused} quarantined"


@dataclass
class Known:
    """What an inbox holds: the names of its lines, and how many deliveries; None: not counted."""

    names: set[str]
    deliveries: int | None


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
        known: Known | None = None,
    ) -> Delivery:
        """Put (position, record) pairs in; returns only after they are on disk.

        `read` gives what a record says, its `fields` among it, or raises `ValueError` with the
        reason why it may not enter. That one, or a `Record` which its source could not read, is
        kept in quarantine with its position, its reason and the first 2,000 characters of its
        text, and the others go on. `known` is what is there, where the caller has read it.
        """
        known = known or Known({name_line(line) for line in self.read(store)}, None)
        names = {*known.names}
        lines, new, refused, duplicate = [], [], [], 0
        for position, record in records:
            line, reason = self._read_record(record, read)
            if reason:
                refused.append((printable(position), reason))
                kept = {"position": printable(position), "raw": raw_text(record)}
                line = {"quarantined": reason, **kept}
            name = name_line(line)
            if name not in names:
                names.add(name)
                lines.append(line)
                new += [] if reason else [name]
            elif not reason:
                duplicate += 1
        if lines:
            self._deliver(store, lines, known.deliveries)
        elif duplicate or refused:  # perhaps known from a process killed before it was safe
            store.local.settle(self.deliveries(store))
        return Delivery(self.noun, tuple(new), duplicate, tuple(refused))

    def read(self, store: Store) -> list[Line]:
        """Every line of every delivery in its order, quarantined ones too.

        Raises `Corrupt` for a damaged one. A line is there twice when two processes delivered it
        at once.
        """
        return [line for key in self.deliveries(store) for line in self.read_delivery(store, key)]

    def deliveries(self, store: Store) -> list[str]:
        """The keys of the deliveries, in order; what one holds never changes."""
        return [key for key in store.local.list(self.folder) if key.endswith(".jsonl")]

    def key(self, number: int) -> str:
        """The key of the delivery with this number: as many as there are before it, or more."""
        return f"{self.folder}/{number:08d}.jsonl"

    def read_delivery(self, store: Store, key: str) -> list[Line]:
        """The lines of one delivery; raises as `read` does."""
        path = store.root / key
        if path.is_symlink() or not path.is_file():
            raise ValueError(f"{path.name!r} in the inbox is no file of its own; take it away")
        every = store.local.read(key).removesuffix(b"\n").split(b"\n")
        return [
            self._read_line(line, f"line {number} of {key} in {str(store.root)!r}")
            for number, line in enumerate(every, 1)
        ]

    def quarantined(self, store: Store) -> list[dict[str, str]]:
        """`position`, `reason` and `raw` of each record that was refused, in order of delivery."""
        lines = {name_line(line): line for line in self.read(store) if "id" not in line}
        return [
            {"position": line["position"], "reason": line["quarantined"], "raw": line["raw"]}
            for line in lines.values()
        ]

    def _read_record(
        self, record: Any, read: Callable[[Mapping[str, Any]], Line]
    ) -> tuple[Line, str]:
        if isinstance(record, Record):
            if record.data is None:
                return {}, printable(record.error) or "the source gave no data and no reason"
            record = record.data
        if not isinstance(record, Mapping):
            return {}, "not a JSON object"
        try:
            said = read(record)
        except ValueError as error:
            return {}, printable(str(error))
        return {"id": self._name(said), **said, "at": time.time()}, ""

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

    def _deliver(self, store: Store, lines: list[Line], before: int | None) -> None:
        """One new file, whole or not at all; its number keeps deliveries in order."""
        data = "".join(canonical_json(line) + "\n" for line in lines).encode()
        number = len(self.deliveries(store)) if before is None else before
        with store.leases.adding():
            while not store.local.create(self.key(number), data):
                number += 1


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
