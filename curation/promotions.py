"""Promotions: which model version is in use, as a log that is only ever added to.

An entry is one sealed file under the next free number, which only one writer can create; the newest
is the pointer. So a promotion is one file that is there or not, and what was in use at any time can
be told. Entries name a version by its id: a version that was never registered is not in use,
whatever the log says.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from curation.blobs import Corrupt
from curation.names import check_name
from curation.seals import seal, unseal
from curation.store import Conflict, Store

FOLDER = "promotions"
GATE = "gate"
"""Who promotes what nobody was asked about."""


@dataclass(frozen=True)
class Promotion:
    """One turn: version `number` with this `id` came into use `at` a time (Unix seconds)."""

    action: Literal["promote", "rollback"]
    number: int
    id: str
    by: str  # "gate", or who said so, "" where nobody is named
    reason: str
    at: float


def read_promotions(store: Store, recipe: str) -> list[Promotion]:
    """Every entry of a recipe, oldest first; `Corrupt` when one was damaged."""
    keys = _keys(store, recipe)
    try:
        return [Promotion(**unseal(key, store.blobs.read(key))) for key in keys]
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise Corrupt(f"the log of promotions of {recipe!r} is damaged: {error}") from None


def add_promotion(
    store: Store,
    recipe: str,
    after: Sequence[Promotion],
    *,
    action: Literal["promote", "rollback"],
    number: int,
    id: str,
    by: str = "",
    reason: str = "",
    at: float | None = None,
) -> Promotion:
    """Add an entry after those that were read; on disk on return.

    Raises `Conflict` when somebody else added one meanwhile.
    """
    said = Promotion(action, number, id, by, reason, time.time() if at is None else at)
    keys = _keys(store, recipe)
    last = int(keys[-1][-13:-5]) if keys else 0  # not their count: a damaged one may be gone
    key = f"{_folder(recipe)}/{last + 1:08d}.json"
    if len(keys) != len(after) or not store.blobs.create(key, seal(key, asdict(said))):
        raise Conflict(f"another version of {recipe!r} came into use meanwhile; look again")
    return said


def in_use(promotions: Sequence[Promotion]) -> list[Promotion]:
    """The turns that a rollback can go back through, the present one last.

    A rollback takes away the turns after the one it went back to.
    """
    turns: list[Promotion] = []
    for entry in promotions:
        if entry.action == "rollback":
            while turns and turns[-1].id != entry.id:
                turns.pop()
        if turns and turns[-1].id == entry.id:
            turns.pop()
        turns.append(entry)
    return turns


def _keys(store: Store, recipe: str) -> list[str]:
    return [key for key in store.blobs.list(_folder(recipe)) if key.endswith(".json")]


def _folder(recipe: str) -> str:
    return f"{FOLDER}/{check_name(recipe)}"
