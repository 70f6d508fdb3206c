"""Intake: bad cases from files, from a drop folder or prefix, in any form, once each.

Every way in ends at the inbox, which names a case by what it says. So reading something twice adds
nothing, and whoever is killed in the middle begins again.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from curation.bad_cases import INBOX, add_bad_cases
from curation.delivery import Delivery
from curation.disk import sha256_file
from curation.inbox import Known
from curation.intake_files import Found, find_files, read_found
from curation.intake_forms import AUTO, read_forms
from curation.intake_memory import Memory, open_memory
from curation.progress import Report, silent
from curation.sources._base import Record, SourceChanged
from curation.store import Store

WHOLE_S = 1.0
"""A file that was written to so shortly ago is waited for, as it may still grow."""


def add_files(
    store: Store,
    places: Iterable[Path | str],
    *,
    form: str = AUTO,
    gold: str = "",
    found_by: str = "",
) -> Delivery:
    """Put files, folders and prefixes into the inbox; what was refused is quarantined there.

    Raises `FileNotFoundError` for a place that is not there before anything is read.
    """
    found = [file for place in places for file in find_files(place)]
    records = (record for file in found for record in read_found(file))
    return add_bad_cases(store, read_forms(records, form=form, gold=gold), found_by=found_by)


def take_drops(
    store: Store,
    *,
    folder: Path | None = None,
    prefix: str = "",
    form: str = AUTO,
    gold: str = "",
    found_by: str = "",
    report: Report = silent,
) -> list[Delivery]:
    """Put what was dropped into `folder` or under `prefix` since the last time into the inbox.

    A file is read once, known by its content; it is never changed or removed. One that changes
    while it is read is read again the next time, and so is one that cannot be opened. Raises
    `ValueError` for a form that is not known, `OSError` for a bucket out of reach.
    """
    places = [place for place in (folder, prefix) if place]
    if not places:
        return []
    read_forms((), form=form)  # a wrong form is said although nothing was dropped
    deliveries = []
    with open_memory(store.root) as memory:
        taker = _Taker(store, memory, form, gold, found_by)
        for place in places:
            for name, delivery in taker.take(place):
                report(f"{place}/{name}: {delivery.line()}")
                deliveries.append(delivery)
    return deliveries


class _Taker:
    """Reads the files of a place that are new; the inbox is looked at only if there are any."""

    def __init__(self, store: Store, memory: Memory, form: str, gold: str, found_by: str):
        self._store, self._memory, self._found_by = store, memory, found_by
        self._how: dict[str, Any] = {"form": form, "gold": gold}
        self._known: Known | None = None

    def take(self, place: Path | str) -> Iterator[tuple[str, Delivery]]:
        """(name, what became of it) of each file that was read."""
        at = str(place)
        marks = self._memory.marks(at)
        for found in find_files(place):
            try:
                mark = "" if found.refused else found.mark()
                if (found.name, mark) in marks:
                    continue
                if delivery := self._take_file(at, found, mark):
                    yield found.name, delivery
            except SourceChanged:
                continue
            except OSError as error:
                if error.errno is None:  # a bucket out of reach is no fault of the object
                    raise
                refused = Record(found.name, None, f"cannot be read: {error.strerror}")
                yield found.name, self._add([(found.name, refused)])

    def _take_file(self, place: str, found: Found, mark: str) -> Delivery | None:
        """What became of its records; None where its content was read under another name."""
        if found.refused:
            delivery = self._add(read_found(found))
            self._memory.take(place, found.name, mark, "")
            return delivery
        time.sleep(max(0.0, min(WHOLE_S, found.written_at + WHOLE_S - time.time())))
        with found.open() as path:
            sha256 = sha256_file(path)
            here = replace(found, open=lambda: nullcontext(path))
            known = self._memory.has_content(place, sha256)
            delivery = None if known else self._add(read_found(here))
        if found.mark() == mark:
            self._memory.take(place, found.name, mark, sha256)
        return delivery

    def _add(self, records: Iterable[tuple[str, Any]]) -> Delivery:
        self._known = self._known or Known(INBOX, self._store)
        plain = read_forms(records, **self._how)
        return add_bad_cases(self._store, plain, found_by=self._found_by, known=self._known)
