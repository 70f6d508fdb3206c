"""Polars' allocator is told how to hold memory before it starts, whichever package comes first."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WATCH = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "polars":
            print("decay" in os.environ.get("_RJEM_MALLOC_CONF", ""))
sys.meta_path.insert(0, Watch())
import {module}
"""


@pytest.mark.parametrize(
    "module",
    ["assets.graph", "curation.store", "evaluation.gate", "pipelines.definitions",
     "training.reward"],
)  # fmt: skip
def test_the_setting_is_there_when_polars_is_imported(module):
    done = subprocess.run(
        [sys.executable, "-c", WATCH.format(module=module)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["True"]
