"""What the demo costs: seconds per stage and peak memory, fresh and again with nothing changed.

    .venv/bin/python benchmarks/demo.py [--recipe FILE]

The demo runs twice in a store of its own in a temporary folder. Memory is the largest sum of the
resident sets of the process and all its children, looked at five times a second; what processes
share counts once for each, so the figure is an upper limit.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--recipe", default=str(ROOT / "pipelines" / "recipes" / "in_car.yaml"))
    recipe = Path(parser.parse_args().recipe).absolute()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {recipe.name}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
        for name in ("fresh", "again"):
            seconds, peak, output = run_demo(Path(folder), recipe)
            print(f"\n== {name}: {seconds:.0f} s, peak memory {peak / 2**30:.2f} GiB")
            print(report_of(output))
    return 0


def run_demo(folder: Path, recipe: Path) -> tuple[float, int, str]:
    """Wall seconds, peak resident bytes of the process tree, and what was printed."""
    command = [sys.executable, "-m", "pipelines.cli", "demo", "--recipe", str(recipe)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    with open(folder / "output", "w+", encoding="utf-8") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output)
        peak = 0
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.2)
        output.seek(0)
        return time.monotonic() - started, peak, output.read()


def resident(pid: int) -> int:
    """Bytes in memory of a process and all its children; 0 when it has just ended."""
    try:
        parent = psutil.Process(pid)
        tree = [parent, *parent.children(recursive=True)]
        return sum(process.memory_info().rss for process in tree)
    except psutil.NoSuchProcess:
        return 0


def report_of(output: str) -> str:
    """The closing report: everything after the progress lines."""
    _, _, report = output.partition("\nFrozen test set")
    return "Frozen test set" + report if report else output


if __name__ == "__main__":
    sys.exit(main())
