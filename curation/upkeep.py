"""Upkeep of a store: what is damaged and whom it hits, and removing what nobody needs any more.

Kept are the last versions of every step, whatever is pinned, whatever a running build has in hand,
and everything those were made from, so that a kept model version can always be explained.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from curation.blobs import Corrupt
from curation.progress import Report, silent
from curation.store import Store, Version

GRACE_S = 86_400.0
"""In a bucket other machines' builds are not seen; what is younger than a day may be in use."""
_STAGED = re.compile(r"tmp/[0-9a-f]{32}")


@dataclass(frozen=True)
class Damage:
    """An object or ref that is missing or changed, and the published versions it is part of.

    `versions` are such as `in_car/rows@3`: name and place in its history.
    """

    key: str
    problem: str
    versions: tuple[str, ...]

    def line(self) -> str:
        """One line for people."""
        hit = ", ".join(self.versions[:5]) + (" …" if len(self.versions) > 5 else "")
        return f"{self.key}: {self.problem}; part of {hit}"


@dataclass(frozen=True)
class Collected:
    """What a collection removed (or would remove), by kind, and the bytes of the objects."""

    refs: int
    memos: int
    objects: int
    bytes: int

    def line(self) -> str:
        """One line for people."""
        size = f"{self.bytes / 1e6:,.1f} MB"
        return f"{self.refs:,} refs, {self.memos:,} memos, {self.objects:,} objects ({size})"


def verify_store(store: Store, *, report: Report = silent) -> list[Damage]:
    """Read every object that a ref or pin leads to and every ref itself; what is not whole."""
    users: dict[str, list[str]] = {}
    problems: dict[str, str] = {}
    seen: dict[str, list[str]] = {}
    for ref in [*store.refs(), *store.blobs.list("pins")]:
        name, _, seq = ref.removesuffix(".json").partition("/")[2].rpartition("/")
        label = f"{name}@{int(seq)}" if name else f"pin {seq}"
        try:
            key = store.ref_target(ref)
        except Corrupt as error:
            problems[ref] = str(error)
            users[ref] = [label]
            continue
        for part in _parts(store, key, seen, problems):
            users.setdefault(part, []).append(label)
    report(f"{len(users):,} objects of {len(store.refs()):,} published versions")
    fresh = Store(store.place, local=store.root, disk=store.disk)  # which trusts nothing yet
    for part in sorted(set(users) - set(problems)):
        try:
            fresh.folder(part) if part.startswith("folders/") else fresh.frame_path(part)
        except Corrupt as error:
            problems[part] = str(error)
    return [
        Damage(key, problem, tuple(sorted(users[key]))) for key, problem in sorted(problems.items())
    ]


def remove_damaged(store: Store, damage: Iterable[Damage]) -> None:
    """Remove damaged objects, so that the next run makes them again instead of failing on them."""
    for found in damage:
        if found.key.startswith("folders/"):
            for key in store.blobs.list(f"objects/{found.key}"):
                store.blobs.remove(key)
        elif not found.key.startswith(("refs/", "pins/")):
            store.blobs.remove(f"objects/{found.key}")


def collect_garbage(
    store: Store, *, keep: int = 10, dry_run: bool = False, report: Report = silent
) -> Collected:
    """Remove all but the last `keep` versions of each step, pins, and what these were made from.

    Builds may run meanwhile: they wait the moment it takes, and nothing they have in hand goes.
    Killed at any point it leaves a whole store, and the next collection finishes the work. Raises
    `ValueError` for `keep` under 1 and `Corrupt` when a kept version is damaged, because then what
    it needs is not known.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep!r}; at least the present version of each step stays")
    with store.leases.collecting() as held:
        old = [ref for name in store.names() for ref in store.refs(name)[:-keep]]
        kept = sorted(set(store.refs()) - set(old))
        roots = [store.ref_target(key) for key in [*kept, *store.blobs.list("pins")]]
        roots += [key for key in held if key.startswith("manifests/")]
        versions = _closure(store, roots)
        objects = {part for version in versions.values() for part in version.objects} | held
        live = _live_memos(store, versions, objects)
        gone = _unused(store, old, live, objects)
        size = sum(_size(store, key) for key in gone if key.startswith("objects/"))
        if not dry_run:
            for key in gone:  # refs first: none may ever lead to what is no longer there
                store.blobs.remove(key)
            store.forget_verified()
    kinds = [key.partition("/")[0] for key in gone]
    refs, memos, n_objects = (kinds.count(kind) for kind in ("refs", "memo", "objects"))
    found = Collected(refs, memos, n_objects, size)
    report(("would remove " if dry_run else "removed ") + found.line())
    return found


def _parts(
    store: Store, key: str, seen: dict[str, list[str]], problems: dict[str, str]
) -> list[str]:
    """Objects a manifest leads to, those of the versions it was made from included."""
    if key not in seen:
        seen[key] = [key]
        try:
            version = store.version(key)
        except Corrupt as error:
            problems[key] = str(error)
            return seen[key]
        found = dict.fromkeys(version.objects)
        for upstream in version.manifest["inputs"].values():
            found |= dict.fromkeys(_parts(store, upstream, seen, problems))
        seen[key] = list(found)
    return seen[key]


def _closure(store: Store, roots: Iterable[str]) -> dict[str, Version]:
    """The versions of these manifests and of all they were made from."""
    found: dict[str, Version] = {}
    todo = sorted(set(roots))
    while todo:
        key = todo.pop()
        if key not in found:
            found[key] = store.version(key)
            todo += found[key].manifest["inputs"].values()
    return found


def _live_memos(store: Store, versions: dict[str, Version], objects: set[str]) -> set[str]:
    """Keys of memos that lead to a kept version, or that a kept version says it remembered.

    What such a memo holds besides versions, such as the facts of all rows ever scored, is added to
    `objects`.
    """
    named = {key for version in versions.values() for key in version.manifest["memos"]}
    live = set()
    for at in store.blobs.list("memo"):
        key = at.removeprefix("memo/").removesuffix(".json")
        said = store.recall(key) or {}
        if said.get("manifest") in versions:
            live.add(at)
        elif key in named:
            live.add(at)
            objects.update(said.get("objects", ()))
    return live


def _unused(store: Store, old_refs: list[str], memos: set[str], objects: set[str]) -> list[str]:
    grace = GRACE_S if store.blobs.shared else 0.0
    gone = [*old_refs, *(key for key in store.blobs.list("memo") if key not in memos)]
    for key in store.blobs.list("objects"):
        name = key.removeprefix("objects/")
        name = "/".join(name.split("/")[:3]) if name.startswith("folders/") else name
        if name not in objects and not (grace and store.blobs.age_s(key) < grace):
            gone.append(key)
    return gone + [key for key in store.blobs.list("tmp") if _STAGED.fullmatch(key)]


def _size(store: Store, key: str) -> int:
    path = store.root / key
    return path.stat().st_size if path.is_file() else 0
