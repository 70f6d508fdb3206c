"""Upkeep of a store: what is damaged and whom it hits, and removing what nobody needs any more.

Kept are the last versions of every step, whatever is pinned, the champion of every recipe, whatever
a running build has in hand, and everything those were made from, so that a kept model version, and
first the one in use, can always be explained. What stays for a pin or as a champion stays in its
history, where questions of lineage look for it.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from curation.blobs import Corrupt
from curation.progress import Progress, Report, silent
from curation.promotions import FOLDER as PROMOTIONS
from curation.registry import champion_now
from curation.seals import read_sealed, seal
from curation.store import Store, Version

GRACE_S = 86_400.0
"""In a bucket other machines' builds are not seen; what is younger than a day may be in use."""
_STAGED = re.compile(r"tmp/\.?[0-9a-f]{32}")


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
    """What a collection removed (or would remove), by kind, and the bytes of the objects.

    `spared` has a line for each version that is none of the last and stays, with the reason.
    """

    refs: int
    memos: int
    objects: int
    bytes: int
    spared: tuple[str, ...] = ()

    def line(self) -> str:
        """One line for people."""
        size = f"{self.bytes / 1e6:,.1f} MB"
        return f"{self.refs:,} refs, {self.memos:,} memos, {self.objects:,} objects ({size})"


def verify_store(store: Store, *, report: Report = silent) -> list[Damage]:
    """Read every object that a ref or pin leads to and every ref itself; what is not whole."""
    users: dict[str, list[str]] = {}
    problems: dict[str, str] = {}
    seen: dict[str, list[str]] = {}
    fresh = Store(store.place, local=store.root, disk=store.disk)  # which trusts nothing yet
    for ref in [*fresh.refs(), *_skipped(fresh), *fresh.blobs.list("pins")]:
        label = _label(ref)
        try:
            key = fresh.ref_target(ref)
        except Corrupt as error:
            problems[ref] = str(error)
            users[ref] = [label]
            continue
        for part in _parts(fresh, key, seen, problems):
            users.setdefault(part, []).append(label)
    for turn in fresh.blobs.list(PROMOTIONS):
        if read_sealed(fresh.blobs, turn) is None:
            problems[turn] = f"{turn} in {fresh.place!r} is damaged: it names no version"
            users[turn] = [_label(turn)]
    progress = Progress(len(users), "objects read", report)
    for part in sorted(set(users) - set(problems)):
        try:
            fresh.folder(part, anew=True) if _is_folder(part) else fresh.frame_path(part, anew=True)
        except Corrupt as error:
            problems[part] = str(error)
        progress.step()
    return [
        Damage(key, problem, tuple(sorted(users[key]))) for key, problem in sorted(problems.items())
    ]


def _label(ref: str) -> str:
    """`in_car/rows@3` for a ref, `pin best` for a pin, `promotion 2 of in_car` for a turn."""
    name, _, seq = ref.removesuffix(".json").partition("/")[2].rpartition("/")
    if ref.startswith(PROMOTIONS):
        return f"promotion {int(seq)} of {name}"
    return f"{name}@{int(seq)}" if ref.startswith("refs/") else f"pin {seq}"


def _is_folder(key: str) -> bool:
    return key.startswith("folders/")


def remove_damaged(store: Store, damage: Iterable[Damage]) -> None:
    """Remove damaged objects, so that the next run makes them again instead of failing on them.

    A ref that is damaged, or names a damaged manifest, comes to name what the one before it names,
    and is removed where there is none; a turn of the log of promotions is taken out of it. A
    damaged pin stays, as a person set it: unpin it, or pin a
    version under its label again.
    """
    bad = {found.key for found in damage}
    refs = {ref for ref in store.refs() if ref in bad or store.ref_target(ref) in bad}
    for ref in sorted(refs | {key for key in bad if key.startswith("refs/")}):
        store.mend_ref(ref)
    gone: list[str] = []
    for key in sorted(bad):
        if key.startswith(PROMOTIONS):
            gone.append(key)
        elif key.startswith("folders/"):
            gone += store.blobs.list(f"objects/{key}")
        elif not key.startswith(("refs/", "pins/")):
            gone.append(f"objects/{key}")
    store.blobs.remove(*gone)
    store.forget_verified()


def collect_garbage(
    store: Store,
    *,
    keep: int = 10,
    dry_run: bool = False,
    grace_s: float = GRACE_S,
    report: Report = silent,
) -> Collected:
    """Remove all but the last `keep` versions of each step, pins, and what these were made from.

    The champion of each recipe, the model version in use, stays however many came after it. Builds
    may run meanwhile: they wait the moment it takes, and nothing they have in hand goes. Killed at
    any point it leaves a whole store, and the next collection finishes the work. Raises
    `ValueError` for `keep` under 1 and `Corrupt` when a kept version, or one that may be the
    champion, is damaged, because then what is needed is not known.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep!r}; at least the present version of each step stays")
    with store.leases.collecting() as held:
        there = {blob.key: blob for part in ("memo", "objects") for blob in store.blobs.scan(part)}
        shared = store.blobs.shared
        young = {key for key, blob in there.items() if shared and blob.age_s < grace_s}
        refs = store.refs()
        old = _old_refs(refs, keep)
        stay = _old_pinned(store, refs, old) | _old_champions(store, old)
        old -= stay.keys()
        memos = {at: read_sealed(store.blobs, at) or {} for at in there if at.startswith("memo/")}
        kept = [key for key in [*refs, *store.blobs.list("pins")] if key not in old]
        roots = {store.ref_target(key): key for key in kept}
        in_use = {said.get("manifest", "") for at, said in memos.items() if at in young | held}
        roots |= dict.fromkeys(
            (k for k in held | in_use if _is_manifest(k) and store.has(k)), "a build"
        )
        versions = _closure(store, roots)
        objects = {part for version in versions.values() for part in version.objects} | held
        live = _live_memos(memos, young, versions, objects)
        unused = [key for key in there if key not in young | live and _name(key) not in objects]
        staged = [key for key in store.blobs.list("tmp") if _STAGED.fullmatch(key)]
        if not dry_run:
            for ref in stay:
                _close_gap(store, ref, next(r for r in refs if r > ref and r not in old))
            _remove(store, old, [*unused, *staged])
    gone = [there[key] for key in unused if key.startswith("objects/")]
    size = sum(blob.n_bytes for blob in gone)
    spared = tuple(stay[ref] for ref in sorted(stay))
    found = Collected(len(old), len(unused) - len(gone), len(gone), size, spared)
    report("; ".join([("would remove " if dry_run else "removed ") + found.line(), *spared]))
    return found


def _old_refs(refs: Iterable[str], keep: int) -> set[str]:
    """Refs, given oldest first, of all but the last `keep` versions of each name."""
    by_name: dict[str, list[str]] = {}
    for ref in refs:
        by_name.setdefault(ref.rpartition("/")[0], []).append(ref)
    return {ref for found in by_name.values() for ref in found[:-keep]}


def _old_pinned(store: Store, refs: Iterable[str], old: Collection[str]) -> dict[str, str]:
    """Those of the old refs, all given oldest first, that lead last to a pin; each with which."""
    pins = {store.ref_target(pin): pin for pin in store.blobs.list("pins")}
    last = {store.ref_target(ref): ref for ref in refs} if pins else {}
    found = [(last[key], pin) for key, pin in pins.items() if last.get(key) in old]
    return {ref: f"{_label(ref)} stays: {_label(pin)}" for ref, pin in found}


def _old_champions(store: Store, old: Collection[str]) -> dict[str, str]:
    """Those of these refs by which a recipe has its champion, each with why it stays."""
    found = {}
    for name in sorted({ref[5:-14] for ref in old if ref[5:-14].endswith("/model_version")}):
        recipe = name.removesuffix("/model_version")
        try:
            entry = champion_now(store, recipe)
        except Corrupt as error:
            said = f"which version of {recipe!r} is the champion is not known"
            raise Corrupt(f"nothing was removed: {said}, as {error}") from None
        if entry:
            turns = [ref for ref in store.refs(name) if store.ref_target(ref) == entry.key]
            if turns[-1] in old:
                line = f"{_label(turns[-1])} stays: v{entry.values['number']} is the champion"
                found[turns[-1]] = line
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


def _closure(store: Store, roots: Mapping[str, str]) -> dict[str, Version]:
    """The versions of these manifests and of all they were made from; `roots` says who needs it."""
    found: dict[str, Version] = {}
    todo = sorted(roots.items())
    while todo:
        key, needed_by = todo.pop()
        if key not in found:
            try:
                found[key] = store.version(key)
            except Corrupt as error:
                raise Corrupt(
                    f"nothing was removed: {_label(needed_by)} is kept and {error}; repair it, or "
                    "build its step again and keep fewer versions"
                ) from None
            todo += [(k, needed_by) for k in found[key].manifest["inputs"].values()]
    return found


def _remove(store: Store, refs: Collection[str], unused: Collection[str]) -> None:
    """Names go first, for good: none may ever lead to what is no longer there."""
    memos = [key for key in unused if key.startswith("memo/")]
    store.blobs.remove(*sorted(refs), *memos)
    for folder in ("refs", "memo"):
        store.blobs.settle_removed(folder)
    store.blobs.remove(*(key for key in unused if not key.startswith("memo/")))
    store.forget_verified()


def _close_gap(store: Store, ref: str, after: str) -> None:
    """Write into a ref which one comes after it now, so that those between are not missed."""
    said = read_sealed(store.blobs, ref) or {}
    if said.get("next") != _seq(after):
        store.blobs.replace(ref, seal(ref, {**said, "next": _seq(after)}))


def _skipped(store: Store) -> list[str]:
    """Refs that should be there, as there is one before and one after them."""
    found = []
    for name in store.names():
        refs = store.refs(name)
        every = [f"refs/{name}/{seq:08d}.json" for seq in range(_seq(refs[0]), _seq(refs[-1]))]
        if lost := sorted(set(every) - set(refs)):
            known = max((read_sealed(store.blobs, ref) or {}).get("next", 0) for ref in refs)
            found += [ref for ref in lost if _seq(ref) >= known]
    return found


def _seq(ref: str) -> int:
    return int(ref[-13:-5])


def _is_manifest(key: str) -> bool:
    return key.startswith("manifests/")


def _live_memos(
    memos: Mapping[str, Mapping[str, Any]],
    young: set[str],
    versions: Mapping[str, Version],
    objects: set[str],
) -> set[str]:
    """Memos that lead to a kept version, that a kept version says it remembered, or that are young.

    What such a memo holds besides versions, such as the facts of all rows ever scored, is added to
    `objects`.
    """
    named = {key for version in versions.values() for key in version.manifest["memos"]}
    live = set()
    for at, said in memos.items():
        if said.get("manifest") in versions:
            live.add(at)
        elif at in young or at in objects or _memo_key(at) in named:
            live.add(at)
            objects.update(said.get("objects", ()))
    return live


def _memo_key(at: str) -> str:
    return at.removeprefix("memo/").removesuffix(".json")


def _name(at: str) -> str:
    """The object or folder that a key is part of."""
    name = at.removeprefix("objects/")
    return "/".join(name.split("/")[:3]) if name.startswith("folders/") else name
