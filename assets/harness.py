"""lm-eval on versions of the registry and on the base model they stand on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assets.facts import model_path, model_revision
from assets.recipe import Recipe
from assets.stage import Job, require_built
from curation.progress import Report, silent
from curation.registry import find_version
from curation.release import require_loadable
from curation.store import Store, Version
from evaluation.harness import require_harness, run_harness

BASE = "base"
"""The name that stands for the newest build's base model."""


def measure_versions(
    store: Store,
    recipe: Recipe,
    names: Sequence[str],
    tasks: Sequence[Path],
    *,
    limit: int | None = None,
    report: Report = silent,
) -> dict[str, Any]:
    """Name -> what `run_harness` says of the version, or of `base`; adapters are merged first.

    Raises `LookupError` for an unknown version, what `require_loadable` and `run_harness` raise.
    """
    require_harness()
    models = {name: _find(store, recipe, name) for name in dict.fromkeys(names)}
    found = {}
    for name, (base, adapter) in models.items():
        report(f"{name}: lm-eval on {', '.join(task.name for task in tasks)}")
        found[name] = run_harness(
            tasks,
            base_model=model_path(base),
            adapter=adapter,
            revision=model_revision(base),
            limit=limit,
        )
    return found


def _find(store: Store, recipe: Recipe, name: str) -> tuple[Version, Path | None]:
    """The base model and the adapter's folder."""
    if name == BASE:
        return require_built(Job(recipe, store), "base_model"), None
    entry = find_version(store, recipe.name, name)
    require_loadable(entry)
    return entry.input("base_model"), entry.folder("version") / "adapter"
