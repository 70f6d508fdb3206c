"""An open inbox: what others deliver is seen, once, in its order, and damage is damage."""

from pathlib import Path

import pytest

from curation.blobs import Corrupt
from curation.open_inbox import OpenInbox
from curation.reviews import INBOX, add_verdicts
from curation.store import Store


def say(store: Store, number: int, opened: OpenInbox | None = None) -> None:
    known = opened if opened else None
    verdict = {"id": f"{number:032x}", "verdict": "accept", "by": "审阅甲"}
    add_verdicts(store, [(f"line {number}", verdict)], known=known)


def test_what_was_delivered_here_or_elsewhere_is_read_once_and_in_order(tmp_path: Path):
    here, there = Store(tmp_path), Store(tmp_path)
    say(here, 0)
    opened = OpenInbox(INBOX, here)
    assert [line["row_id"] for line in opened.refresh()] == [f"{0:032x}"]
    say(there, 1)
    say(here, 2, opened)  # that of the other process is not known here yet
    say(here, 0, opened)
    assert [line["row_id"][-1] for line in opened.refresh()] == ["1", "2"]
    assert [*opened.refresh()] == [] and opened.lines == INBOX.read(there)
    assert opened.following == len(INBOX.deliveries(here)) == 3


def test_an_inbox_with_a_gap_or_nothing_in_it_is_followed(tmp_path: Path):
    store = Store(tmp_path)
    empty = OpenInbox(INBOX, store)
    assert [*empty.refresh()] == []
    for number in range(3):
        say(store, number)
    (tmp_path / "verdicts" / "00000001.jsonl").unlink()
    opened = OpenInbox(INBOX, store)
    assert len([*opened.refresh()]) == 2
    for number in (5, 6):
        say(Store(tmp_path), number)
    assert [line["row_id"][-1] for line in opened.refresh()] == ["5", "6"]
    assert opened.lines == INBOX.read(store)


def test_a_damaged_delivery_is_damage(tmp_path: Path):
    store = Store(tmp_path)
    opened = OpenInbox(INBOX, store)
    say(store, 1)
    (path,) = (tmp_path / "verdicts").iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(Corrupt, match="it is no verdict as it was delivered"):
        _ = [*opened.refresh()]
