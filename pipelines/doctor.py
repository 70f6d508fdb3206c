"""The doctor: what this machine and this project can do, and what is missing, one line each."""

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.paths import recipe_path

PACKAGES = (
    "dagster",
    "polars",
    "datasets",
    "datasketch",
    "openai",
    "fasttext",
    "torch",
    "transformers",
    "peft",
    "trl",
)


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what, whether it is fine, and what to do when it is not."""

    what: str
    fine: bool
    detail: str

    def line(self) -> str:
        """The finding as one line."""
        return f"{'ok  ' if self.fine else 'FAIL'}  {self.what}: {self.detail}"


def examine(*, recipe: str | None, store: Path | str) -> list[Finding]:
    """Look at Python, packages, device, Dagster history, recipe and store."""
    return [
        _python(),
        *_packages(),
        _device(),
        *_dagster(),
        _recipe(recipe),
        _bucket(store) if isinstance(store, str) else _store(store),
    ]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    fine = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding("Python", fine, version if fine else f"{version}; Winnow needs 3.11 to 3.13")


def _packages() -> Iterator[Finding]:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    found = [f"{n} {importlib.metadata.version(n)}" for n in PACKAGES if n not in missing]
    if missing:
        yield Finding("packages", False, f"missing: {', '.join(missing)}; run `make setup`")
    yield Finding("packages", True, ", ".join(found))


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("device", True, f"CUDA, {torch.cuda.get_device_name(0)}")
    return Finding("device", True, f"CPU, {os.cpu_count()} cores; the demo base model fits it")


def _dagster() -> Iterator[Finding]:
    home, ours = os.environ.get("DAGSTER_HOME"), Path("dagster.yaml")
    if home and Path(home).resolve() != Path.cwd():
        yield Finding(
            "Dagster history",
            False,
            f"DAGSTER_HOME={home} hides the dagster.yaml here; unset it",
        )
    elif not ours.is_file():
        yield Finding(
            "Dagster history", False, "no dagster.yaml in this folder; run from the project root"
        )
    else:
        yield Finding("Dagster history", True, "kept in .dagster by the dagster.yaml here")


def _recipe(given: str | None) -> Finding:
    from assets.recipe import RecipeError, load_recipe

    path = recipe_path(given)
    try:
        recipe = load_recipe(path)
    except RecipeError as error:
        more = f" (and {len(error.lines) - 1} more)" if len(error.lines) > 1 else ""
        return Finding("recipe", False, f"{path}: {error.lines[0]}{more}")
    return Finding("recipe", True, f"{path} is good ({recipe.name})")


def _store(path: Path) -> Finding:
    parent = next(p for p in (path, *path.absolute().parents) if p.exists())
    free_gb = shutil.disk_usage(parent).free / 1e9
    if not os.access(parent, os.W_OK):
        return Finding("store", False, f"{path} cannot be written")
    enough = free_gb >= 2
    return Finding(
        "store", enough, f"{path}, {free_gb:.0f} GB free" + ("" if enough else "; 2 GB needed")
    )


def _bucket(place: str) -> Finding:
    from curation.store import Store

    try:
        Store(place)
    except (ValueError, OSError) as error:
        return Finding("store", False, str(error))
    return Finding("store", True, f"{place} can be read and honours conditional writes")
