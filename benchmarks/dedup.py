"""Near-duplicates: how fast, and how right, beside the libraries that others use for it.

    .venv/bin/python benchmarks/dedup.py                        all of it (hours)
    .venv/bin/python benchmarks/dedup.py --rows 5000 --growth   a first look, and no growth
    .venv/bin/python benchmarks/dedup.py --only winnow rensa --data zh300
    .venv/bin/python benchmarks/dedup.py --only winnow --large  how it grows up to ten million rows

Every candidate gets the same normalised texts and the same threshold, runs in a process of its own
on one core with one thread, and has three runs, of which the median counts (one where it is slow).
Seconds are CPU seconds of the work, without imports and reading; memory is the peak of the first
run above what the process held with the texts read. Slow libraries get the first rows only; speeds
are rows a second of what they got. Each library is installed into an environment of its own in the
cache folder; one that cannot be is named in the table with the reason.

Recall is of all pairs of the rows, found by an exact join (`dedup_exact.py`): a pair is found when
one of it goes. A merge is false when no kept row is as near as the threshold. A meaning is lost
when one row goes of a pair that differs in a number, a negation or an opposite.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import dedup_delivery, dedup_exact
from benchmarks.dedup_data import CHUNK, KINDS, read_texts
from curation.minhash import sign_keys
from curation.similarity import gram_size

PEERS = Path(__file__).with_name("peers")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "winnow-benchmarks"
THREADS = ("OMP", "OPENBLAS", "MKL", "RAYON", "NUMBA", "NUMEXPR")
QUIET = {
    "POLARS_MAX_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONHASHSEED": "0", "TQDM_DISABLE": "1",
}  # fmt: skip
LIMIT_S = 1_800
SIZES = {"utterances": 2, "zh300": 3, "en300": 5, "mixed": 3}
"""The n-gram that fits most rows, for libraries that have one for all."""


class Environment(NamedTuple):
    """What is installed for a library; `bare` goes without what it asks for, beyond `pinned`."""

    pinned: tuple[str, ...]
    bare: tuple[str, ...] = ()


ENVIRONMENTS = {
    "datasketch": Environment(
        ("datasketch==2.0.0", "xxhash==4.1.0", "numpy==2.4.6", "scipy==1.17.1")
    ),
    "rensa": Environment(("rensa==0.5.0",)),
    # It asks for Spark and TensorFlow's kin too, which its `minhash` command never imports.
    "text-dedup": Environment(
        ("datasets==5.2.0", "numpy==2.4.6", "scipy==1.17.1", "xxhash==4.1.0", "click==8.5.1",
         "click-option-group==0.5.9", "rich==15.0.0", "tqdm==4.70.1", "psutil==7.2.2",
         "regex==2026.11.15", "setuptools==65.5.0"),
        ("text-dedup==0.4.0",),
    ),
    "datatrove": Environment(
        ("datatrove==0.10.1", "numpy==2.4.6", "spacy==3.8.18", "jieba==0.42.1", "orjson==3.13.0",
         "xxhash==3.8.2", "nltk==3.10.4", "regex==2026.11.15", "tokenizers==0.23.3",
         "fasteners==0.20"),
    ),
    "data-juicer": Environment(
("py-data-juicer==1.6.1", "datasets==5.2.0", "scipy==1.17.1", "aiohttp==3.14.5", "ray==2.60.0")),
    "semhash": Environment(("semhash==0.5.0", "numpy==2.4.6")),
}  # fmt: skip


class Candidate(NamedTuple):
    """One way to use one library; `most` are the rows it gets at most."""

    name: str
    script: str
    setting: str
    most: int
    environment: str = ""


OURS, LOOP, BULK, RENSA = (
    "winnow, texts", "datasketch, README loop", "datasketch, bulk", "rensa, n-grams",
)  # fmt: skip
AIMS = {LOOP: 400, BULK: 30, RENSA: 8}
"""How many times as fast ours is to be."""
RECALL_7, RECALL_8 = 0.999, 1.0
EXPONENT, MB_A_MILLION = 1.05, 300.0
MOST_ROWS = {"utterances": 10**7, "zh300": 10**6, "en300": 10**7}
"""Rows that are drawn to see growth; of other data 100,000."""
CANDIDATES = (
    Candidate(OURS, "use_winnow.py", "texts", 10**7),
    Candidate("winnow, signatures", "use_winnow.py", "signatures", 10**7),
    Candidate("winnow, rows", "use_winnow.py", "rows", 100_000),
    Candidate(LOOP, "use_datasketch.py", "README loop", 100_000, "datasketch"),
    Candidate(BULK, "use_datasketch.py", "bulk", 100_000, "datasketch"),
    Candidate("rensa, words", "use_rensa.py", "default", 100_000, "rensa"),
    Candidate(RENSA, "use_rensa.py", "n-grams", 100_000, "rensa"),
    Candidate("rensa, n-grams, rho", "use_rensa.py", "rho", 100_000, "rensa"),
    Candidate("text-dedup, words", "use_text_dedup.py", "default", 20_000, "text-dedup"),
    Candidate("text-dedup, characters", "use_text_dedup.py", "characters", 20_000, "text-dedup"),
    Candidate("datatrove, words", "use_datatrove.py", "default", 10_000, "datatrove"),
    Candidate("datatrove, characters", "use_datatrove.py", "characters", 10_000, "datatrove"),
    Candidate("Data-Juicer, words", "use_data_juicer.py", "default", 20_000, "data-juicer"),
    Candidate("Data-Juicer, characters", "use_data_juicer.py", "characters", 20_000, "data-juicer"),
    Candidate("semhash", "use_semhash.py", "default", 20_000, "semhash"),
    Candidate("semhash, multilingual", "use_semhash.py", "multilingual", 20_000, "semhash"),
)


class Missing(Exception):
    """A candidate that cannot be measured here, and why."""


class Absent(NamedTuple):
    """A candidate that is not in the table's figures, and why."""

    candidate: Candidate
    reason: str


class Measured(NamedTuple):
    """What the process of a candidate found."""

    candidate: Candidate
    rows: int
    version: str
    speed: float
    memory_mb: float
    judged: dedup_exact.Judged


def main() -> int:
    args = _arguments()
    args.cache.mkdir(parents=True, exist_ok=True)
    chosen = [c for c in CANDIDATES if not args.only or any(o in c.name for o in args.only)]
    print(f"{os.cpu_count()} cores, one used; Python {sys.version.split()[0]}; seed {args.seed}")
    for kind in args.data:
        print(f"\n{compare(kind, chosen, args)}", flush=True)
    sizes = sorted({*args.growth, *((10_000_000,) if args.large else ())})
    for kind in args.data if sizes else ():
        fit = [rows for rows in sizes if rows <= MOST_ROWS.get(kind, 100_000)]
        print(f"\n{grow(kind, fit, args)}", flush=True)
    for rows in args.delivery:
        say(f"{rows:,} utterances and a delivery")
        print(f"\n{dedup_delivery.measure('utterances', rows, args.cache / 'texts')}", flush=True)
    return 0


def _arguments() -> argparse.Namespace:
    about, examples = str(__doc__).split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=about, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000, help="rows of a data set")
    parser.add_argument("--data", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--only", nargs="+", default=[], help="candidates whose name has this")
    parser.add_argument("--threshold", type=float, default=0.7, help="Jaccard index")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--growth", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--delivery", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("--large", action="store_true", help="grow to ten million utterances")
    parser.add_argument("--cache", type=Path, default=CACHE, help="environments and texts")
    parser.add_argument("--semhash-model", default="", help="a folder, where no hub is reached")
    args = parser.parse_args()
    if args.rows % CHUNK or args.rows < CHUNK or any(n % CHUNK for n in args.growth):
        parser.error(f"rows come in whole thousands, so {args.rows} cannot be drawn")
    return args


def compare(kind: str, candidates: list[Candidate], args: argparse.Namespace) -> str:
    """The table of one data set."""
    path = read_texts(kind, args.rows, args.cache / "texts", seed=args.seed)
    frame = pl.read_parquet(path)
    say(f"{kind}: all pairs of {frame.height:,} rows are compared")
    pairs = dedup_exact.exact_pairs(frame["text"], min(0.7, args.threshold))
    found: list[Measured | Absent] = []
    for candidate in candidates:
        say(f"{kind}: {candidate.name}")
        try:
            found.append(_measure(candidate, kind, frame, pairs, args))
        except Missing as reason:
            say(f"{candidate.name} is left out: {reason}")
            found.append(Absent(candidate, str(reason)))
    near = [pairs.filter(pl.col("similarity") >= least).height for least in (0.7, 0.8)]
    characters = frame["text"].str.len_chars().mean()
    head = (
        f"**{KINDS[kind].says}** ({kind}): {frame.height:,} rows of {characters:.0f} characters, "
        f"{near[0]:,} pairs of J ≥ 0.7 and {near[1]:,} of J ≥ 0.8; threshold {args.threshold}"
    )
    return "\n".join([head, "", *_table(found), "", *_judge(found)])


def _measure(
    candidate: Candidate,
    kind: str,
    frame: pl.DataFrame,
    pairs: pl.DataFrame,
    args: argparse.Namespace,
) -> Measured:
    part = frame.head(candidate.most)
    found = run(candidate, kind, part.lazy(), args)
    dropped = dict(found["dropped"])
    if candidate.setting == "signatures":
        bands = sign_keys(part["text"], threshold=args.threshold, engine="kernel")
        near = pairs.filter(pl.col("other") < part.height)
        recall_7, recall_8 = (dedup_exact.proposed(near, part, bands, n) for n in (0.7, 0.8))
        judged = dedup_exact.Judged(recall_7, recall_8, math.nan, math.nan, 0)
    else:
        judged = dedup_exact.judge(part, pairs, dropped, args.threshold)
    speed = part.height / found["cpu_s"]
    return Measured(candidate, part.height, found["version"], speed, found["memory_mb"], judged)


def run(
    candidate: Candidate, kind: str, texts: pl.LazyFrame, args: argparse.Namespace
) -> dict[str, Any]:
    """What a candidate's script finds of these rows, in a process and a folder of its own."""
    python = environment(candidate.environment, args.cache)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / ("rows.jsonl" if candidate.environment else "rows.parquet")
        if candidate.environment:
            frame = texts.select("text").collect()
            sizes = [gram_size(text) for text in frame["text"]]
            frame.with_columns(size=pl.Series(sizes)).write_ndjson(path)
        else:
            texts.sink_parquet(path)
        model = args.semhash_model if candidate.environment == "semhash" else ""
        command = [
            python, PEERS / candidate.script, path, folder / "found.json",
            "--setting", candidate.setting, "--threshold", args.threshold,
            "--size", SIZES[kind], "--language", "en" if kind == "en300" else "zh",
            "--model", model and str(Path(model).resolve()),
        ]  # fmt: skip
        threads = {f"{name}_NUM_THREADS": "1" for name in THREADS}
        caches = {"HF_DATASETS_CACHE": f"{folder}/hf", "DATA_JUICER_CACHE_HOME": f"{folder}/dj"}
        env = os.environ | threads | QUIET | caches
        others = env.pop("PYTHONPATH", "").split(os.pathsep)
        if not candidate.environment:
            env["PYTHONPATH"] = os.pathsep.join(
                [str(Path(__file__).parents[1]), *filter(None, others)]
            )
        _finish([str(part) for part in command], cwd=folder, env=env)
        return json.loads((folder / "found.json").read_text())


def environment(name: str, cache: Path) -> Path:
    """The interpreter that has a library, installed if need be; our own without a name."""
    if not name:
        return Path(sys.executable)
    wanted = ENVIRONMENTS[name]
    key = sha256(repr((wanted, sys.version_info[:2])).encode()).hexdigest()[:8]
    folder = cache / f"{name}-{key}"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        say(f"{name}: {', '.join(wanted.bare or wanted.pinned[:1])} is installed into {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        _finish([sys.executable, "-m", "venv", str(folder)])
        _finish([*install, *wanted.pinned])
        if wanted.bare:
            _finish([*install, "--no-deps", *wanted.bare])
        done.touch()
    return python


def _finish(command: list[str], **said: Any) -> None:
    """Run a command; `Missing` with the last it said where it fails."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=LIMIT_S, **said,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Missing(f"took more than {LIMIT_S} s") from None
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()] or ["nothing was said"]
        errors = [line for line in lines if "rror" in line.partition(":")[0]]
        raise Missing((errors or lines)[-1].strip()[:160])


def grow(kind: str, sizes: list[int], args: argparse.Namespace) -> str:
    """Ours at several sizes: the time, the memory, and the exponent of growth between two."""
    lines = [
        f"**Growth** ({kind}, {OURS})", "",
        "| rows | CPU s | rows/s per core | MB above the text | exponent |", "|" + "---:|" * 5,
    ]  # fmt: skip
    first: tuple[int, float] | None = None
    before: tuple[int, float] | None = None
    notes: list[str] = []
    for rows in sizes:
        say(f"{kind}: {rows:,} rows")
        texts = pl.scan_parquet(read_texts(kind, rows, args.cache / "texts", seed=args.seed))
        found = run(CANDIDATES[0], kind, texts, args)
        seconds = found["cpu_s"]
        power = f"{_exponent(before, (rows, seconds)):.3f}" if before else ""
        before = rows, seconds
        first = first or before
        speed, memory = rows / seconds, found["memory_mb"]
        lines.append(f"| {rows:,} | {seconds:.2f} | {speed:,.0f} | {memory:,.0f} | {power} |")
        if power and rows >= 10**6:
            a_million = memory / rows * 1e6
            room = _aim(f"{a_million:.0f} MB a million rows", "300", a_million <= MB_A_MILLION)
            notes.append(f"- {rows:,} rows: {room}")
    if first and before and first != before:
        power = _exponent(first, before)
        met = _aim(f"exponent {power:.3f}", f"{EXPONENT}", power <= EXPONENT)
        notes.append(f"- from {first[0]:,} rows to {before[0]:,}: {met}")
    return "\n".join([*lines, "", *notes])


def _exponent(one: tuple[int, float], other: tuple[int, float]) -> float:
    """How the time grows from one (rows, seconds) to another: 1 as the rows do."""
    return math.log(other[1] / one[1]) / math.log(other[0] / one[0])


def _table(found: list[Measured | Absent]) -> list[str]:
    speeds = {m.candidate.name: m.speed for m in found if isinstance(m, Measured)}
    loop = speeds.get(LOOP, math.nan)
    lines = [
        "| | version | rows | rows/s per core | × README loop | MB above the text "
        "| recall J ≥ 0.7 | recall J ≥ 0.8 | dropped | false merges | meanings lost |",
        "|---|---|" + "---:|" * 9,
    ]
    for one in found:
        if isinstance(one, Absent):
            lines.append(f"| {one.candidate.name} | left out: {one.reason} |" + " |" * 9)
            continue
        j = one.judged
        cells = (
            one.candidate.name, one.version, f"{one.rows:,}", f"{one.speed:,.0f}",
            _number(one.speed / loop, ".1f"), f"{one.memory_mb:,.0f}", _number(j.recall_7, ".4f"),
            _number(j.recall_8, ".4f"), f"{j.dropped:,}", _number(j.false_merges, ".2%"),
            _number(j.meanings_lost, ".1%"),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _judge(found: list[Measured | Absent]) -> list[str]:
    """What ours came to beside its aims."""
    measured = {m.candidate.name: m for m in found if isinstance(m, Measured)}
    if OURS not in measured:
        return []
    ours, lines = measured[OURS], list[str]()
    for name, aim in AIMS.items():
        if name in measured:
            ratio = ours.speed / measured[name].speed
            lines.append(_aim(f"{ratio:.1f} × {name}", f"{aim} ×", ratio >= aim))
    judged = ours.judged
    for least, recall, aim in ((0.7, judged.recall_7, RECALL_7), (0.8, judged.recall_8, RECALL_8)):
        lines.append(_aim(f"recall {recall:.4f} at J ≥ {least}", f"{aim:g}", recall >= aim))
    merges = judged.false_merges
    lines.append(_aim(f"{merges:.2%} of the merges false", "none", not merges))
    return [f"- {OURS}: {line}" for line in lines]


def _aim(what: str, aim: str, met: bool) -> str:
    return f"{what} (aim {aim}: {'met' if met else 'missed'})"


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)


def say(text: str) -> None:
    """A line of progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
