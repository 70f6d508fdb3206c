"""A whole curation of generated rows: from the sources to the training set, all offline scorers.

    .venv/bin/python benchmarks/curation.py                      100,000 on one core, then 1,000,000
    .venv/bin/python benchmarks/curation.py --rows 20000 --cores 1
    .venv/bin/python benchmarks/curation.py --rows 1000000 --cores 0          all cores there are

Prompts are Chinese utterances, or what `--data` says, with near-duplicates planted among them
(`dedup_data.py`), answers are free text. They are read, taken to rows, signed, compared, scored,
judged by rules, split from an exam and mixed 7:1; nothing is trained. Each run is a process of its
own: its seconds are by the clock with what it imports, its memory the peak of that process. Below
the table stands what became of the rows.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.dedup_data import CHUNK, KINDS, draw_chunk
from benchmarks.questions import peak_gb
from benchmarks.store import HAN, LAST, RECIPE, ROOT, Bench

RUNS = ((100_000, 1), (1_000_000, 0))
AIMS = {(100_000, 1): ("s", 60.0), (1_000_000, 0): ("GB", 4.0)}
SCORERS = (
    "garbled", "harmful", "language_match", "length", "perplexity", "pii", "refusal", "repetition",
    "special_tokens", "task_valid",
)  # fmt: skip
"""All that need neither weights, nor a network, nor people's verdicts."""
CURATED = RECIPE.replace(
    "scorers: {{length: {{}}, repetition: {{}}, special_tokens: {{}}}}",
    "scorers: {{" + ", ".join(f"{name}: {{{{}}}}" for name in SCORERS) + "}}",
).replace(
    "keep: [length <= 400, not special_tokens, repetition < 0.9, not label_conflict]",
    "keep: [length <= 400, not special_tokens, repetition < 0.9, not label_conflict, not refusal, "
    "garbled < 0.05, not harmful, not pii, language_match, perplexity_q < 0.99]",
)


class Curation(Bench):
    """A project whose general rows ask what `dedup_data.py` draws, near-duplicates included.

    What is asked in nearly the same words has the same answer.
    """

    def __init__(self, folder: Path, kind: str):
        self._kind, self._chunk = kind, -1
        self._drawn: list[tuple[str, int, str]] = []
        super().__init__(folder, CURATED)

    def _general(self, number: int) -> dict[str, str]:
        chunk, at = divmod(number, CHUNK)
        if chunk != self._chunk:
            self._chunk, self._drawn = chunk, draw_chunk(self._kind, chunk)
        text, family, _ = self._drawn[at]
        drawn = random.Random(family)
        answer = "".join(drawn.choices(HAN, k=drawn.randint(12, 40)))
        return {"prompt": text, "answer": f"好的，{answer}"}


def main() -> int:
    about, examples = str(__doc__).split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=about, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, help="general rows")
    parser.add_argument("--cores", type=int, default=1, help="0 for all there are")
    parser.add_argument("--data", choices=KINDS, default="utterances", help="what is asked")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(curate(args.child, args.data, args.cores)))
        return 0
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}\n")
    for line in table(args.data, [(args.rows, args.cores)] if args.rows else RUNS):
        print(line, flush=True)
    return 0


def table(kind: str, runs: Iterable[tuple[int, int]]) -> Iterator[str]:
    """A line for each run as a Markdown table, and what became of the rows."""
    yield "| rows | cores | s | rows/s | peak GB | |"
    yield "|---:|---:|---:|---:|---:|---|"
    notes: list[str] = []
    for rows, cores in runs:
        found = run(kind, rows, cores)
        unit, most = AIMS.get((rows, cores), ("", 0.0))
        took = found["seconds"] if unit == "s" else found["peak_gb"]
        aim = f"aim ≤ {most:g} {unit}: {'met' if took <= most else 'missed'}" if unit else ""
        shown = f"{found['seconds']:.1f} | {rows / found['seconds']:,.0f}"
        yield f"| {rows:,} | {cores or os.cpu_count()} | {shown} | {found['peak_gb']:.2f} | {aim} |"
        fates = ", ".join(f"{name} {n:,}" for name, n in found["fates"].items())
        slowest = ", ".join(f"{name} {s:.1f} s" for name, s in found["slowest"].items())
        notes.append(f"- {rows:,}: {fates}; most time: {slowest}")
    yield ""
    yield from notes


def run(kind: str, rows: int, cores: int) -> dict[str, Any]:
    """What a curation of so many rows takes, in a process and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        Curation(Path(folder), kind).deliver(rows)
        child = ("--child", folder, "--data", kind, "--cores", str(cores))
        threads = {"POLARS_MAX_THREADS": str(cores)} if cores else {}
        done = subprocess.run(
            [sys.executable, __file__, *child], stdout=subprocess.PIPE, text=True, check=True,
            env=os.environ | threads | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def curate(folder: Path, kind: str, cores: int) -> dict[str, Any]:
    """Build every step of the project that lies in a folder."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    bench = Curation(folder, kind)
    seconds = bench.build(f"on {cores or 'all'} cores")
    peak = peak_gb()
    fates: dict[str, int] = {}
    for step in ("duplicates", "kept_rows", LAST):
        told = bench.head(step).table("fates").group_by("fate", "reason").len()
        for fate, reason, n in told.sort("fate", "reason").iter_rows():
            name = " ".join(filter(None, (fate, reason)))
            if fate != "kept" or step == LAST:
                fates[name] = fates.get(name, 0) + n
    return {"seconds": seconds, "peak_gb": peak, "fates": fates, "slowest": bench.slowest}


if __name__ == "__main__":
    sys.exit(main())
