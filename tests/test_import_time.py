"""The code location loads fast and without the libraries that only some steps need.

Dagster imports the definitions anew for every code server, and people wait for it.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = {
    "bitsandbytes", "datasets", "datasketch", "fasttext", "openai", "peft", "torch",
    "transformers", "trl",
}  # fmt: skip
LOAD = """
import json, resource, sys
import {module}
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([used.ru_utime + used.ru_stime, sorted(sys.modules)]))
"""


ALONE = 0.75
"""CPU seconds that Dagster alone takes to import on the machine that the limit was set on."""


def test_definitions_load_in_two_seconds_of_cpu_without_heavy_libraries():
    """Two seconds there; elsewhere so much more as Dagster, most of it, takes longer by itself."""
    loads = [(_load("dagster"), _load("pipelines.definitions")) for _ in range(3)]
    alone, ours = (min(load[i][0] for load in loads) for i in (0, 1))
    assert not HEAVY & set(loads[0][1][1])
    assert ours <= 2.0 * max(1.0, alone / ALONE)


def _load(module: str) -> tuple[float, list[str]]:
    """CPU seconds of a fresh process that imports a module, and the modules it then holds."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD.format(module=module)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
