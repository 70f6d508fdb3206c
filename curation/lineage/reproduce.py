"""Reproducing a version: everything it was made by and from, and whether all of it is still there.

`present` is what the code and recipe at hand say of each step (code, modules, packages, and reads,
a digest of a source's files); the command line passes it, because only the graph knows it.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from curation.lineage.changes import recipe_text
from curation.lineage.views import View, model_view
from curation.rows import canonical_json
from curation.store import Corrupt, Made, Store, Version
from curation.tables import objects_of

Present = Mapping[str, Mapping[str, Any]]
_SEEDS = ("seed", "salt")
FROZEN = (*("named_model", "base_model", "reference", "reward_model", "augmented_rows", "topics"),)
"""Steps that go on from what they were: a store begun later would make others of the same rows."""
REMEMBERED = {"split_rows": ("once",)}
"""Tables that a step takes over from its version before, although it makes its others anew."""
AGAIN = "again"
"""The store that a version is made in again."""


def plan_reproduction(store: Store, recipe: str, name: str) -> dict[str, Any]:
    """`lineage reproduce`: recipe, versions of every step, packages, seeds and the commands."""
    view = model_view(store, recipe, name)
    assert view.entry, "a model view has its entry"
    cases, said = view.steps["bad_cases"].tables["rows"]["rows"], len(_verdicts(view))
    return {
        "version": view.label,
        "id": view.entry.values["id"],
        "manifest": view.entry.key,
        "recipe_digest": view.entry.manifest["how"]["recipe"],
        "recipe": recipe_text(view),
        "steps": {n: _step(v) for n, v in sorted(_steps(view).items())},
        "packages": _packages(view),
        "seeds": _seeds(view),
        "bad_cases": cases,
        "verdicts": said,
        "commands": _commands(cases, said),
        "expected": {
            n: view.steps[n].data_version for n in ("training_set", "adapter") if n in view.steps
        },
    }


def check_reproduction(store: Store, recipe: str, name: str, *, present: Present) -> dict[str, Any]:
    """`lineage reproduce --check`: damaged or missing objects, and steps that would differ now.

    Reads every byte the version needs. `ok` when nothing is damaged and no step differs.
    """
    view = model_view(store, recipe, name)
    steps = _steps(view)
    damaged = [said for version in steps.values() for said in _damage(version)]
    differ = {n: said for n, v in sorted(steps.items()) if (said := _differs(v, present.get(n)))}
    objects = sum(len(v.tables) + len(v.manifest["folders"]) + 1 for v in steps.values())
    return {
        "version": view.label,
        "ok": not damaged and not differ,
        "objects": objects,
        "damaged": damaged,
        "steps": len(steps),
        "differ": differ,
    }


def write_reproduction(store: Store, recipe: str, name: str, to: Path) -> list[str]:
    """`--to`: recipe.yaml, bad_cases.jsonl, reproduce.json and a store in a folder; their names.

    The store `again` holds what the version found frozen, and the digests of prompts that are kept
    out of training because they were in the exam once. Where people said something of rows it
    stands in verdicts.jsonl. Files that the recipe reads are not copied: they stand in the recipe
    by their path.
    """
    from curation.export import write_whole

    plan, view = plan_reproduction(store, recipe, name), model_view(store, recipe, name)
    cases = view.steps["bad_cases"].table("rows")
    columns = ["prompt", "gold", "predicted", "found_by"]
    lines = [canonical_json(case) + "\n" for case in cases.select(columns).to_dicts()]
    files = {
        "recipe.yaml": plan["recipe"],
        "bad_cases.jsonl": "".join(lines),
        "reproduce.json": json.dumps(plan, ensure_ascii=False, indent=1) + "\n",
    }
    if said := _verdicts(view):
        files["verdicts.jsonl"] = "".join(canonical_json(one) + "\n" for one in said)
    for file, text in files.items():
        write_whole(to / file, text)
    again = Store(to / AGAIN)
    for step, version in view.steps.items():
        if step.partition("/")[0] in FROZEN:
            copy_version(version, again)
        elif step in REMEMBERED:
            _copy_tables(version, REMEMBERED[step], again)
    return [*files, AGAIN]


def compare_reproduction(
    store: Store, recipe: str, name: str, plan: Mapping[str, Any]
) -> dict[str, Any]:
    """`lineage reproduce --same-as`: whether a version is the one a written plan tells of.

    `ok` when training set and adapter are the same; `differ` names every step that is not. Raises
    `ValueError` for what is no such plan.
    """
    said = plan.keys() if isinstance(plan, Mapping) else set()
    if missing := {"version", "steps", "expected"} - said:
        raise ValueError(f"this is no reproduce.json: it does not say {', '.join(sorted(missing))}")
    view = model_view(store, recipe, name)
    was = {step: said["data_version"] for step, said in plan["steps"].items()}
    now = {step: version.data_version for step, version in _steps(view).items()}
    return {
        "version": view.label,
        "like": plan["version"],
        "ok": all(now.get(step) == said for step, said in plan["expected"].items()),
        "expected": {step: [said, now.get(step)] for step, said in plan["expected"].items()},
        "differ": sorted(n for n in was.keys() | now.keys() if was.get(n) != now.get(n)),
    }


def copy_version(version: Version, store: Store) -> None:
    """Publish a version in another store, as if nothing had led to it there."""
    made = Made(
        tables={name: version.table(name) for name in version.tables},
        folders={name: version.folder(name) for name in version.manifest["folders"]},
        values=version.values,
    )
    store.publish(store.write_version(version.name, made, inputs={}, how=version.manifest["how"]))


def _copy_tables(version: Version, names: Iterable[str], store: Store) -> None:
    """These tables alone; so no code is said to have made them, and no step builds on the rest."""
    made = Made(tables={name: version.table(name) for name in names})
    how = {**version.manifest["how"], "code": ""}
    store.publish(store.write_version(version.name, made, inputs={}, how=how))


def _steps(view: View) -> dict[str, Version]:
    return {**view.steps, **({"model_version": view.entry} if view.entry else {})}


def _step(version: Version) -> dict[str, Any]:
    how = version.manifest["how"]
    return {
        "data_version": version.data_version,
        "manifest": version.key,
        "code": how.get("code", ""),
        "rows": version.tables.get("rows", {}).get("rows"),
        "options": how.get("options", {}),
    }


def _packages(view: View) -> dict[str, str]:
    found = [v.manifest["how"].get("packages", {}) for v in view.steps.values()]
    return dict(sorted((n, version) for said in found for n, version in said.items()))


def _seeds(view: View) -> dict[str, Any]:
    """Every seed that was used: those of the recipe by their path, and the trainer's own."""
    import yaml

    found = _named(yaml.safe_load(recipe_text(view)) or {}, "")
    for name in ("adapter", "sft_adapter", "base_model", "reward_model"):
        options = view.steps[name].values.get("options", {}) if name in view.steps else {}
        found |= {f"{name}.{k}": v for k, v in options.items() if k in _SEEDS}
    return dict(sorted(found.items()))


def _named(said: Any, path: str) -> dict[str, Any]:
    if not isinstance(said, dict):
        return {path: said} if path.rpartition(".")[2] in _SEEDS else {}
    parts = (_named(v, f"{path}.{k}" if path else str(k)) for k, v in said.items())
    return {k: v for part in parts for k, v in part.items()}


def _verdicts(view: View) -> list[dict[str, str]]:
    """What each reviewer said of each row, as he would deliver it again."""
    if "verdicts" not in view.steps:
        return []
    said = view.steps["verdicts"].table("said")
    columns = ["verdict", "reason", "by"]
    return said.select(*columns, id="row_id", at="said_at").to_dicts()


def _commands(n_cases: int, n_verdicts: int) -> list[str]:
    """What to type in a folder that holds what `--to` wrote, beside the files of the recipe."""
    where = f"--recipe recipe.yaml --store {AGAIN}"
    add = [f"winnow bad-cases add bad_cases.jsonl {where}"] if n_cases else []
    add += [f"winnow reviews add verdicts.jsonl {where}"] if n_verdicts else []
    return [
        *add,
        f"winnow run {where}",
        f"winnow lineage reproduce v1 {where} --same-as reproduce.json",
    ]


def _damage(version: Version) -> list[str]:
    """What of a version is missing or damaged, in one line each; what is whole reads as written."""
    found = []
    parts: list[tuple[str, Callable[[], object]]] = [
        (f"table {name}", partial(version.store.frame_paths, objects_of(entry)))
        for name, entry in version.tables.items()
    ]
    folders = version.manifest["folders"]
    parts += [(f"folder {name}", partial(version.folder, name)) for name in folders]
    for part, read in parts:
        try:
            read()
        except (Corrupt, OSError) as error:
            found.append(f"{version.name}, {part}: {str(error).splitlines()[0]}")
    return found


def _differs(version: Version, now: Mapping[str, Any] | None) -> str:
    """Why a step would be made otherwise by the code and recipe at hand; "" when it would not."""
    how = version.manifest["how"]
    if now is None:
        return "the recipe at hand has no such step"
    parts = ["the files it reads"] if now.get("reads", how.get("reads")) != how.get("reads") else []
    if how.get("code") == now["code"]:
        return "".join(parts)
    for key in ("modules", "packages"):
        was, has = how.get(key, {}), now.get(key, {})
        names = sorted(n for n in was.keys() | has.keys() if was.get(n) != has.get(n))
        shown = [f"{n} {was.get(n)} is now {has.get(n)}" if key == "packages" else n for n in names]
        parts += [f"{key}: {', '.join(shown)}"] if shown else []
    return "; ".join(parts) or "its recipe section"
