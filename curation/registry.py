"""The registry of model versions: every one ever judged, promoted or rejected, numbered in order.

There is no second list: a version is registered by being published under `<recipe>/model_version`,
and its number is the order in which its id first appeared there.
"""

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
    return known.get(id, len(known) + 1)


def champion_before(store: Store, recipe: str, id: str) -> Version | None:
    """The newest promoted version registered before version `id` (of all, when it is new)."""
    number = next_number(store, recipe, id)
    older = [entry for entry in registered(store, recipe) if entry.values["number"] < number]
    return next((entry for entry in reversed(older) if entry.values["promoted"]), None)


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
        entry = next((e for e in reversed(entries) if e.values["promoted"]), None)
        if entry is None:
            raise LookupError(f"no version of {recipe!r} has been promoted yet")
        return entry
    bare = name.removeprefix("v")
    found = [e for e in entries if str(e.values["number"]) == bare]
    found = found or [e for e in entries if len(bare) >= 6 and e.values["id"].startswith(bare)]
    if not found:
        known = ", ".join(f"v{e.values['number']}" for e in entries)
        raise LookupError(f"there is no model version {name!r}; known: {known}, latest, champion")
    return found[0]
