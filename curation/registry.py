"""The registry of model versions: every one ever judged, promoted or rejected, numbered in order.

There is no second list: a version is registered by being published under `<recipe>/model_version`,
and its number is the order in which its id first appeared there.
"""

from collections.abc import Callable

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


def champion_now(store: Store, recipe: str) -> Version | None:
    """The version in use, None when nothing was promoted yet."""
    return _champion(store, recipe)


def champion_before(store: Store, recipe: str, id: str) -> Version | None:
    """The champion that version `id` has to beat: of those registered before it."""
    number = next_number(store, recipe, id)
    return _champion(store, recipe, lambda entry: entry.values["number"] < number)


def champion_at(store: Store, recipe: str, moment: float) -> Version | None:
    """The champion at a moment (Unix seconds), None when nothing was promoted by then.

    `Version.published_at` is when its last turn in that place began.
    """
    return _champion(store, recipe, lambda entry: (entry.published_at or 0.0) <= moment)


def _champion(
    store: Store, recipe: str, counts: Callable[[Version], bool] = lambda _: True
) -> Version | None:
    """The version published last whose newest verdict is a promotion, of those that count.

    A rollback publishes an older version again, and so makes it the champion again.
    """
    judged: set[int] = set()
    for entry in store.history(f"{recipe}/model_version"):
        if counts(entry) and entry.values["number"] not in judged:
            judged.add(entry.values["number"])
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
