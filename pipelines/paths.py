"""Where the recipe and the store lie when nobody says so."""

import os
from pathlib import Path

DEFAULT_RECIPE = Path(__file__).parent / "recipes" / "in_car.yaml"
INTAKE_TOKEN = "WINNOW_INTAKE_TOKEN"
MODEL_TOKEN = "WINNOW_MODEL_TOKEN"
"""Variables that hold what posts to `winnow serve` and `winnow serve-model` must bear."""


def recipe_path(given: str | None = None) -> Path:
    """The recipe to use: the one given, the one the environment names, or the in-car example."""
    return Path(given or os.environ.get("WINNOW_RECIPE") or DEFAULT_RECIPE)


def store_path(given: str | None = None) -> Path | str:
    """Where the store lies: given, named by the environment, or `.winnow` here.

    A folder as an absolute path, a bucket as its URL.
    """
    place = given or os.environ.get("WINNOW_STORE") or ".winnow"
    return place if "://" in place else Path(place).absolute()


def alert_url() -> str:
    """Where alerts are told, as the environment says; "" for nowhere."""
    return os.environ.get("WINNOW_ALERT_URL", "")
