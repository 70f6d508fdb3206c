"""What a recipe says of what is made: the part of it that digests and manifests hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assets.recipe_keys import BESIDE


def said_of_results(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without where its work is done and who is told of it."""
    return {
        key: {k: v for k, v in value.items() if k not in BESIDE[key]}
        if key in BESIDE and isinstance(value, dict)
        else value
        for key, value in raw.items()
        if key != "engine"
    }


def without_folders(said: Any) -> Any:
    """What a recipe says without the places of one machine: manifests are the same everywhere."""
    if isinstance(said, dict):
        return {key: without_folders(value) for key, value in said.items()}
    if isinstance(said, list):
        return [without_folders(value) for value in said]
    is_path = isinstance(said, str) and "\n" not in said and Path(said).is_absolute()
    return Path(said).name if is_path else said
