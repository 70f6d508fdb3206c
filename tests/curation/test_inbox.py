"""The inbox of many small deliveries: read once, in parts, beside others who deliver."""

from pathlib import Path

import pytest

from curation.bad_cases import INBOX, add_bad_cases, read_deliveries, read_inbox
from curation.disk import Disk
from curation.inbox import PART_LINES, Known
from curation.intake_commit import Busy, Committer
from curation.store import Store


def cases(*numbers: int) -> list[tuple[str, dict[str, str]]]:
    return [
        (f"x:{i}", {"prompt": f"打开{i}号灯", "gold": "好", "predicted": "no"}) for i in numbers
    ]


class CountingDisk(Disk):
    """A disk that counts what is read of the inbox, and may be full."""

    reads = 0
    full = False

    def read(self, path: Path) -> bytes:
        self.reads += path.parent.name == "intake"
        return super().read(path)

    def write(self, path: Path, data: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device", str(path))
        super().write(path, data)


def test_who_adds_again_and_again_reads_only_what_others_delivered(tmp_path):
    disk = CountingDisk()
    ours, theirs = Store(tmp_path, disk=disk), Store(tmp_path)
    add_bad_cases(theirs, cases(0))
    known = Known(INBOX, ours)
    for number in range(1, 30):
        assert len(add_bad_cases(ours, cases(number), known=known).new) == 1
    assert disk.reads == 1
    add_bad_cases(theirs, cases(50, 51))
    outcomes = add_bad_cases(ours, cases(51, 3, 52, 52), known=known).outcomes
    assert [one.outcome for one in outcomes] == ["known", "known", "new", "known"]
    assert disk.reads == 2 and len({one.id for one in outcomes}) == 3
    prompts = [case["prompt"] for case in read_inbox(theirs)]
    assert prompts == [case["prompt"] for _, case in cases(*range(30), 50, 51, 52)]
    assert len(read_deliveries(theirs)) == len(prompts)


def test_a_number_that_another_took_meanwhile_is_read_and_none_is_overwritten(tmp_path):
    store = Store(tmp_path)

    def stalled():
        yield cases(1)[0]
        add_bad_cases(Store(tmp_path), cases(2))  # comes in between
        yield cases(3)[0]

    known = Known(INBOX, store)
    assert len(add_bad_cases(store, stalled(), known=known).new) == 2
    (again,) = add_bad_cases(store, cases(2), known=known).outcomes
    assert again.outcome == "known"
    assert [case["prompt"][2] for case in read_inbox(store)] == ["2", "1", "3"]


def test_a_large_delivery_comes_in_parts_that_hold_each_line_once(tmp_path):
    store = Store(tmp_path)
    numbers = [*range(PART_LINES + 5), 7, PART_LINES + 2]
    delivery = add_bad_cases(store, cases(*numbers))
    assert delivery.line() == f"{PART_LINES + 5} new bad cases, 2 already known, 0 quarantined"
    assert len(list((tmp_path / "intake").iterdir())) == 2
    assert len(read_deliveries(store)) == PART_LINES + 5


def test_posts_that_come_together_share_a_delivery_and_hear_of_their_own_lines(tmp_path):
    store = Store(tmp_path)
    committer = Committer(store, found_by="甲")
    futures = [committer.submit(cases(i, i + 1)) for i in range(40)]
    committer.close()
    assert all(future.done() for future in futures)
    said = [[one.outcome for one in future.result()] for future in futures]
    assert said[0] == ["new", "new"] and said[1:] == [["known", "new"]] * 39
    assert len(list((tmp_path / "intake").iterdir())) <= 3
    assert {case["found_by"] for case in read_inbox(store)} == {"甲"}
    with pytest.raises(Busy):
        committer.submit(cases(99))


def test_a_full_disk_acknowledges_nothing_and_forgets_nothing(tmp_path):
    disk = CountingDisk()
    store = Store(tmp_path, disk=disk)
    committer = Committer(store)
    disk.full = True
    with pytest.raises(OSError, match="No space left"):
        committer.submit(cases(1)).result(10)
    assert "No space left" in committer.failed and read_inbox(store) == []
    disk.full = False
    (outcome,) = committer.submit(cases(1)).result(10)
    assert outcome.outcome == "new" and committer.failed == ""
    committer.close()
    assert len(read_inbox(store)) == 1 and not list((tmp_path / "tmp").iterdir())
