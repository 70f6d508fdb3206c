"""Corrected bad cases as rows: the prompt with the answer it should have got.

For cases that were collected elsewhere and are to be trained on as they are. The inbox (`winnow
bad-cases add`) is the other door: it holds half of them back and makes rows against their errors.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from curation.plugins import plugin
from curation.sources._base import Record
from curation.sources.jsonl import jsonl

FIELDS = ("prompt", "gold", "predicted")


@plugin()
def bad_cases(*, path: Path, max_chars: int = 1_000_000) -> Callable[[], Iterator[Record]]:
    """Records of a JSONL file of `{prompt, gold, predicted}`.

    `predicted` stays beside the row as the rejected answer. A line without one of the three as text
    is refused with its reason; other keys are kept.
    """
    lines = jsonl(path=path, max_chars=max_chars)

    def read() -> Iterator[Record]:
        for record in lines():
            yield record if record.data is None else _corrected(record.position, record.data)

    return read


def _corrected(position: str, case: dict) -> Record:
    missing = [name for name in FIELDS if not isinstance(case.get(name), str)]
    if missing:
        return Record(position, None, f"no text under {missing[0]!r}", str(case)[:2000])
    rest = {key: value for key, value in case.items() if key not in FIELDS}
    pair = {"prompt": case["prompt"], "answer": case["gold"], "rejected": case["predicted"]}
    return Record(position, {**rest, **pair})
