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
import pipelines.definitions
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([used.ru_utime + used.ru_stime, sorted(sys.modules)]))
"""


def test_definitions_load_in_two_seconds_of_cpu_without_heavy_libraries():
    loads = [_load() for _ in range(3)]
    assert not HEAVY & set(loads[0][1])
    assert min(seconds for seconds, _ in loads) <= 2.0


def _load() -> tuple[float, list[str]]:
    """CPU seconds of a fresh process that imports the definitions, and the modules it holds."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
