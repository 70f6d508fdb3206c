"""Changes: what differs between the ways two versions of a step were made, each with its name.

A manifest says by which code, packages, recipe section, options and outside files a step was made.
What differs there is a cause; what differs only because an input does is followed upstream. For
the snapshot of the inbox the cause is which bad cases came or left, whatever made it take others.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import polars as pl
import yaml

from curation.lineage.views import View
from curation.store import Version

Cause = tuple[str, str]
"""What kind of thing changed, and what exactly: ("recipe key", "mix.general: 7 is now 5")."""

THRESHOLDS = {"keep", "guard", "gate", "dedup.threshold", "split.threshold"}
"""Recipe keys that say where a line is drawn."""
_PLACES = {"named": "train.base_model", "revision": "train.revision"}
_SHORT = 60


def list_changes(old: View, new: View) -> list[dict[str, str]]:
    """Every cause between two views: kind, step (where it was noticed first) and detail.

    Kinds: threshold, source revision, recipe key, source content, bad cases, verdicts, run option,
    library, code.
    """
    found: dict[Cause, str] = {cause: "" for cause in recipe_changes(old, new)}
    for name in sorted(old.steps.keys() & new.steps.keys()):
        for cause in step_changes(old.steps[name], new.steps[name]):
            if cause[0] not in ("recipe key", "threshold"):
                found[cause] = found.get(cause) or name
    return [{"kind": kind, "step": step, "detail": said} for (kind, said), step in found.items()]


def step_cause(old: View, new: View, name: str) -> Cause | None:
    """Why a step came out otherwise: what changed in it, else upstream of it; None when nothing.

    The nearest change is named.
    """
    todo, seen = [name], set()
    for step in todo:
        if step in seen or step not in old.steps or step not in new.steps:
            continue
        seen.add(step)
        if old.steps[step].key == new.steps[step].key:
            continue
        if found := next(step_changes(old.steps[step], new.steps[step], recipes(old, new)), None):
            return found
        todo += new.steps[step].manifest["inputs"]
    return None


def step_changes(
    old: Version, new: Version, recipes: tuple[Any, Any] | None = None
) -> Iterator[Cause]:
    """What differs in how two versions of one step were made, the plainest cause first.

    The recipe keys are named when both recipes are given.
    """
    was, now = old.manifest["how"], new.manifest["how"]
    if new.name.partition("/")[2] == "bad_cases":
        yield from _case_changes(old, new)
    if recipes and was.get("section") != now.get("section"):
        yield from _section_changes(was.get("section"), now.get("section"), recipes)
    yield from _pairs("library", was.get("packages", {}), now.get("packages", {}))
    if names := _differing(was.get("modules", {}), now.get("modules", {})):
        yield "code", ", ".join(names)
    yield from _pairs("run option", was.get("options", {}), now.get("options", {}))
    read_other = was.get("reads") != now.get("reads")
    if read_other and _is_source(new) and was.get("section") == now.get("section"):
        yield "source content", f"the files of {new.name.rpartition('/')[2]!r} changed"
    if read_other and "verdicts" in new.values:
        yield "verdicts", _counted(old) + " are now " + _counted(new)


def _case_changes(old: Version, new: Version) -> Iterator[Cause]:
    """How many bad cases one snapshot has that the other has not; of those that came, to learn."""
    before, after = (step.table("rows", columns=["id", "half"]) for step in (old, new))
    came, gone = (a.join(b, on="id", how="anti") for a, b in ((after, before), (before, after)))
    learn = came.filter(pl.col("half") == "learn").height
    said = [f"{came.height:,} came ({learn:,} to learn from)"] if came.height else []
    said += [f"{gone.height:,} are no longer in the snapshot"] if gone.height else []
    if said:
        yield "bad cases", "; ".join(said)


def _counted(version: Version) -> str:
    counts = version.values["verdicts"]
    return f"{counts['accepted']:,} accepted and {counts['rejected']:,} rejected"


def _is_source(version: Version) -> bool:
    return "/sources/" in version.name


def _section_changes(was: Any, now: Any, recipes: tuple[Any, Any]) -> Iterator[Cause]:
    """The recipe keys, by their whole path, on which a step's section depends and that differ."""
    keys = _section_keys(was) | _section_keys(now)
    named = [c for c in _recipe_pairs(*recipes) if _is_under(c[1].partition(":")[0], keys)]
    yield from named or [("recipe key", ", ".join(sorted(keys)))]


def _section_keys(section: Any) -> set[str]:
    """Recipe keys a section was taken from: its names, or the place of its plug-in."""
    if isinstance(section, dict):
        return {_PLACES.get(str(name), str(name)) for name in section}
    if not isinstance(section, list) or not section:
        return set()
    if not isinstance(section[0], str):
        return {key for part in section for key in _section_keys(part)}
    return {section[0], *(f"{part}.{section[0]}" for part in ("sources", "scorers"))}


def _is_under(path: str, keys: set[str]) -> bool:
    return any(path == key or path.startswith(f"{key}.") for key in keys)


def recipe_changes(old: View, new: View) -> list[Cause]:
    """Every recipe key whose value differs, with both values."""
    return list(_recipe_pairs(*recipes(old, new)))


def recipes(old: View, new: View) -> tuple[Any, Any]:
    """The two recipes as their newest steps wrote them down."""
    return _recipe(old), _recipe(new)


def recipe_text(view: View) -> str:
    """The recipe a view was made by, as YAML."""
    last = view.entry or next(iter(view.steps.values()))
    return last.manifest["how"].get("recipe_text", "")


def _recipe(view: View) -> Any:
    return _parsed(recipe_text(view))


@lru_cache(2)
def _parsed(text: str) -> Any:
    return yaml.safe_load(text) or {}


def _recipe_pairs(was: Any, now: Any) -> Iterator[Cause]:
    yield from _rule_changes("keep", was.get("keep") or [], now.get("keep") or [])
    yield from _rule_changes("gate", was.get("gate") or [], now.get("gate") or [])
    rest = [{k: v for k, v in said.items() if k not in ("keep", "gate")} for said in (was, now)]
    yield from _said(_flatten(rest[0]), _flatten(rest[1]))


def _rule_changes(key: str, was: list[str], now: list[str]) -> Iterator[Cause]:
    """Rules paired by the column they begin with, so that a moved threshold reads as one change."""
    gone, came = ([r for r in a if r not in b] for a, b in ((was, now), (now, was)))
    for rule in gone:
        partner = next((r for r in came if rule_subject(r) == rule_subject(rule)), None)
        if partner:
            came.remove(partner)
            yield "threshold", f"{key}: {rule} is now {partner}"
        else:
            yield "threshold", f"{key}: {rule} is no longer a rule"
    for rule in came:
        yield "threshold", f"{key}: {rule} is a new rule"


def rule_subject(rule: str) -> str:
    """The first name in a rule: `perplexity` of `perplexity < 300`."""
    words = rule.replace("(", " ").split()
    return next((w for w in words if w.lower() != "not"), rule)


def _said(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Cause]:
    for path in sorted(was.keys() | now.keys()):
        if was.get(path) != now.get(path):
            values = f"{_show(was, path)} is now {_show(now, path)}"
            yield _kind(path), f"{path}: {values}"


def _kind(path: str) -> str:
    if path.startswith("sources.") and path.endswith(".revision"):
        return "source revision"
    return "threshold" if _is_under(path, THRESHOLDS) else "recipe key"


def _show(said: Mapping[str, Any], path: str) -> str:
    text = str(said[path]) if path in said else "(not set)"
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"


def _flatten(said: Any, path: str = "") -> dict[str, Any]:
    """Path -> value of everything in a section that is not a mapping; an empty mapping is {}."""
    if isinstance(said, dict) and said:
        parts = (_flatten(v, f"{path}.{k}" if path else str(k)) for k, v in said.items())
        return {k: v for part in parts for k, v in part.items()}
    return {path: said}


def _pairs(kind: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Cause]:
    for name in _differing(was, now):
        yield kind, f"{name}: {was.get(name, '(none)')} is now {now.get(name, '(none)')}"


def _differing(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return sorted(n for n in was.keys() | now.keys() if was.get(n) != now.get(n))
