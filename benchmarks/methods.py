"""Every method of training on the demo's training set, and what its model then answers.

    .venv/bin/python benchmarks/methods.py [--store DIR] [--write] [--json FILE]

It is `winnow methods` on the example's recipe. `--store` is that of a demo that was run; without it
the demo is run first, in a temporary folder. `--write` puts the table between its marks in
docs/benchmarks.md. Seconds are those of training alone, memory is the peak of its process with its
libraries, and *held fixed* counts bad cases that no training row was made from.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

RECIPE = ROOT / "pipelines" / "recipes" / "in_car.yaml"
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- methods: written by benchmarks/methods.py -->", "<!-- /methods -->"
PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("methods", nargs="*", help="some of them (default: all)")
    parser.add_argument("--store", type=Path, help="of a demo that was run")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    parser.add_argument("--json", type=Path, help="a file for programs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args.store or run_demo(Path(folder)), args.methods)
    text = f"{describe_machine()}\n\n{methods_table(found)}"
    print(text)
    if args.json:
        args.json.write_text(json.dumps(found, ensure_ascii=False, indent=1))
    if args.write:
        PAGE.write_text(put_between(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
    return 0


def run_demo(folder: Path) -> Path:
    """The store of a demo that is run there."""
    (folder / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipelines.cli", "demo", "--recipe", str(RECIPE)]
    subprocess.run(command, cwd=folder, env=environment, stdout=sys.stderr, check=True)
    return folder / ".winnow"


def measure(store: Path, methods: list[str]) -> dict[str, Any]:
    from assets.methods import compare_methods
    from assets.recipe import load_recipe
    from curation.store import Store

    return compare_methods(
        Store(store), load_recipe(RECIPE), methods, report=lambda line: print(line, file=sys.stderr)
    )


def methods_table(found: Mapping[str, Any]) -> str:
    """The arms as Markdown, and a line for each method that cannot run here."""
    from curation.markdown import plain, table

    names = [*found["arms"]["base"]["metrics"]]
    head = ["", "trained parameters", "s", "peak MB", "lr", *names, "held fixed",
            f"beside {found['against']}"]  # fmt: skip
    arms = {arm: said for arm, said in found["arms"].items() if "metrics" in said}
    lines = [[plain(arm), *_cells(said, names)] for arm, said in arms.items()]
    refused = [
        f"- {arm}: {plain(said['refused'])}"
        for arm, said in found["arms"].items()
        if said.get("refused")
    ]
    return "\n".join([table(head, lines, numbers=6 + len(names)), *refused])


def _cells(said: Mapping[str, Any], names: list[str]) -> list[str]:
    metrics = ["–" if (value := said["metrics"][n]) is None else f"{value:.3f}" for n in names]
    if "held" not in said:
        return ["", "", "", "", *metrics, "", ""]
    costs = ("–" if said[c] is None else f"{said[c]:,.0f}" for c in ("seconds", "peak_mb"))
    held = f"{said['held']['fixed']:,} of {said['held']['n']:,}"
    trained = [f"{said['n_trained']:,}", *costs, f"{said['lr']:g}"]
    return [*trained, *metrics, held, said.get("verdict", "")]


def put_between(page: str, text: str) -> str:
    """The page with the text in place of what stands between the marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.name} has no place for the table: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{text.rstrip()}\n{END}{after}"


def describe_machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    sys.exit(main())
