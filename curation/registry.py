"""The registry of model versions: every one ever judged, numbered in order, and the one in use.

There is no second list: a version is registered by being published under `<recipe>/model_version`,
and its number is the order in which its id first appeared there. Which one is in use, the champion,
stands in the log of `curation/promotions.py`; stores from before there was one have it in the order
of publication.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from curation.promotions import GATE, Promotion, add_promotion, in_use, read_promotions
from curation.rows import digest
from curation.store import Store, Version


def version_id(adapter: Version) -> str:
    """Identity of a model version: the content of adapter, base model and training set."""
    inputs = [adapter.input(name).data_version for name in ("base_model", "training_set")]
    return digest([adapter.data_version, *inputs])


def registered(store: Store, recipe: str) -> list[Version]:
    """Model versions of a recipe by number, each with the newest verdict on it."""
    newest: dict[int, Version] = {}
    for version in store.history(f"{recipe}/model_version"):
        newest.setdefault(version.values["number"], version)
    return [newest[number] for number in sorted(newest)]


def next_number(store: Store, recipe: str, id: str) -> int:
    """The number of a version: the one it has, or the next free one."""
    known = {entry.values["id"]: entry.values["number"] for entry in registered(store, recipe)}
    return known.get(id, max(known.values(), default=0) + 1)


def say_verdict(values: Mapping[str, Any]) -> str:
    """What the gate said of a version: `promoted`, `rejected` or `needs people`."""
    if values["promoted"]:
        return "promoted"
    return "needs people" if values["verdict"].get("decision") == "needs_people" else "rejected"


def champion_now(store: Store, recipe: str) -> Version | None:
    """The version in use, None when nothing was promoted yet."""
    return _champion(store, recipe)


def champion_before(store: Store, recipe: str, id: str) -> Version | None:
    """The champion that version `id` has to beat: of those registered before it."""
    own = next_number(store, recipe, id)
    return _champion(store, recipe, lambda number, at: number < own)


def champion_at(store: Store, recipe: str, moment: float) -> Version | None:
    """The champion at a moment (Unix seconds), None when nothing was promoted by then.

    `Version.published_at` is when its last turn in that place began.
    """
    return _champion(store, recipe, lambda number, at: at <= moment)


def champion_turns(store: Store, recipe: str) -> list[float]:
    """The moments at which another version may have become the champion, oldest first."""
    published = [v.published_at or 0.0 for v in store.history(f"{recipe}/model_version")]
    return sorted([*published, *(entry.at for entry in read_promotions(store, recipe))])


def promote_judged(store: Store, recipe: str, *, number: int, id: str) -> None:
    """Bring a version into use that the gate promotes, the first time it does.

    Not a second time: people may have gone back from it since.
    """
    log = read_promotions(store, recipe)
    if not log and (before := champion_now(store, recipe)):  # of a store that had no log yet
        told = {k: before.values[k] for k in ("number", "id")}
        log = [_add(store, recipe, log, by=GATE, at=before.published_at or 0.0, **told)]
    if id not in {entry.id for entry in log}:
        _add(store, recipe, log, number=number, id=id, by=GATE)


def _add(store: Store, recipe: str, log: list[Promotion], **said: Any) -> Promotion:
    return add_promotion(store, recipe, log, action="promote", **said)


def _champion(
    store: Store, recipe: str, counts: Callable[[int, float], bool] = lambda number, at: True
) -> Version | None:
    """The version whose turn began last, of the turns that count by number and time.

    What the gate brought into use stays there while its newest verdict is a promotion.
    """
    log = [entry for entry in read_promotions(store, recipe) if counts(entry.number, entry.at)]
    for turn in reversed(in_use(log)):
        every = store.history(f"{recipe}/model_version")
        entry = next((e for e in every if e.values["id"] == turn.id), None)
        if entry is not None and (turn.by != GATE or entry.values["promoted"]):
            return replace(entry, published_at=turn.at)
    return _published_last(store, recipe, counts)


def _published_last(
    store: Store, recipe: str, counts: Callable[[int, float], bool]
) -> Version | None:
    """Without a log: the version published last whose newest verdict is a promotion.

    A rollback in such a store publishes an older version again.
    """
    judged: set[int] = set()
    for entry in store.history(f"{recipe}/model_version"):
        number = entry.values["number"]
        if counts(number, entry.published_at or 0.0) and number not in judged:
            judged.add(number)
            if entry.values["promoted"]:
                return entry
    return None


def find_version(store: Store, recipe: str, name: str) -> Version:
    """The version called `v3`, `3`, `latest`, `champion` or by the start of its id.

    Raises `LookupError` naming the versions there are.
    """
    entries = registered(store, recipe)
    if not entries:
        raise LookupError(f"recipe {recipe!r} has no model version yet: run `winnow run` first")
    if name == "latest":
        return entries[-1]
    if name == "champion":
        entry = champion_now(store, recipe)
        if entry is None:
            raise LookupError(f"no version of {recipe!r} has been promoted yet")
        return entry
    bare = name.removeprefix("v")
    found = [e for e in entries if str(e.values["number"]) == bare]
    found = found or [e for e in entries if len(bare) >= 6 and e.values["id"].startswith(bare)]
    if len(found) > 1:
        said = ", ".join(f"v{e.values['number']} {e.values['id'][:12]}" for e in found)
        raise LookupError(f"{name!r} is the beginning of several versions: {said}")
    if not found:
        known = ", ".join(f"v{e.values['number']}" for e in entries)
        raise LookupError(f"there is no model version {name!r}; known: {known}, latest, champion")
    return found[0]
