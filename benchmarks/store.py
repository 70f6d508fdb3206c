"""What the store costs: a first build, a delivery of 1,000 rows, nothing new, questions, upkeep.

    .venv/bin/python benchmarks/store.py [--rows 100000 1000000] [--versions 20]

A recipe of one general and one domain source, three scorers and every step from the sources to the
training set is built for each size; then 1,000 rows are delivered, version by version. Each build
is a process of its own, as each run of a user's is: its seconds are those of all steps and of what
they import, its memory the peak of that process. Beside it stand a plain Parquet write and read of
the same rows: what any store has to pay. Work is counted by what the steps report
(`benchmarks/judged.py` counts it where it is done).
"""

import argparse
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.questions import head, peak_gb, timed

ROOT = Path(__file__).parents[1]
DELIVERY = 1_000
DOMAIN = 200
CASES = 40
AIMS = {"share of the first build": 0.03, "MB written": 1.0, "memory GB": 1.5, "exponent": 1.05}
"""Most that a figure whose name ends so may come to at 1,000,000 rows."""
ANSWER_S = 0.5
"""Most that any question may take there; their names have a colon."""
RECIPE = """
name: bench
task: {{use: json_slots, fields: [actions], slots: {{actions: [do, what]}}, system: 你是车载助手。}}
sources:
  seeds: {{use: jsonl, path: seeds, track: domain, license: CC-BY-4.0}}
  general: {{use: jsonl, path: general, track: general, license: Apache-2.0}}
  test: {{use: jsonl, path: test, track: domain, split: test}}
augment: {{use: rules, per_seed: 1}}
scorers: {{length: {{}}, repetition: {{}}, special_tokens: {{}}}}
keep: [length <= 400, not special_tokens, repetition < 0.9, not label_conflict]
guard: {{max_share: 0.9}}
mix: {{general: 7, domain: 1}}
train: {{base_model: {model}}}
evaluate: {{metrics: [exact_match]}}
"""
MODEL = """
import json, sys
from pathlib import Path
from curation.rows import dialogue, make_row, rows_frame
from training.demo_model import pretrain_demo_model
said = [json.loads(line) for line in sys.stdin]
rows = rows_frame(make_row(dialogue(one["prompt"], one["answer"])) for one in said)
out = Path(sys.argv[1])
pretrain_demo_model(rows, out=out, hidden=32, layers=1, vocab_size=400, steps=2)
"""
LAST = "training_set"
WORK = re.compile(r"(\w+): ([\d,]+) rows to do, ([\d,]+) were done before")
HAN = "打开关闭空调车窗音乐导航回家公司温度调到风速大一点座椅加热播放歌明天早上提醒我给妈电话"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--versions", type=int, default=20)
    parser.add_argument("--domain", type=int, default=DOMAIN, help="domain rows (default: 200)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--build", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        bench = Bench(args.child, domain=args.domain)
        if args.build:
            found = Built(bench.build(args.build), peak_gb(), bench.counted)._asdict()
        else:
            found = measure(bench, args.rows[0], args.versions)
        print(json.dumps(found))
        return 0
    found = {}
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            found[rows] = in_process(
                __file__, "--rows", rows, "--child", folder,
                "--versions", args.versions, "--domain", args.domain,
            )  # fmt: skip
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}\n")
    print(table(found))
    return 0


def in_process(*command: object) -> dict[str, Any]:
    """What a script finds in a process of its own."""
    done = subprocess.run(
        [sys.executable, *map(str, command)], stdout=subprocess.PIPE, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


class Built(NamedTuple):
    """What a build took: seconds of all steps, most memory, and rows worked on by step."""

    seconds: float
    peak_gb: float
    counted: dict[str, int]


def measure(bench: "Bench", rows: int, versions: int) -> dict[str, Any]:
    """Every figure for one size; progress goes to stderr."""
    bench.complain(CASES)
    bench.deliver(rows)
    first = bench.build_apart("first build")
    found: dict[str, Any] = {"first build s": first.seconds}
    found["nothing new s"] = bench.build_apart("nothing new").seconds
    bench.reorder()
    reordered = bench.build_apart("reordered")
    found["same rows in another order s"] = reordered.seconds
    found["reordered: rows worked on"] = sum(reordered.counted.values())
    bench.release(1)
    deliveries: list[Built] = []
    for number in range(2, versions + 1):
        bench.deliver(DELIVERY)
        size = bench.size()
        deliveries.append(bench.build_apart(f"+{DELIVERY:,} rows, version {number}"))
        if number == 2:
            found[f"+{DELIVERY:,} rows MB written"] = (bench.size() - size) / 1e6
            done = sorted(deliveries[0].counted.items())
            found["rows worked on"] = ", ".join(f"{k} {n:,}" for k, n in done)
        bench.release(number)
    seconds = [built.seconds for built in deliveries]
    for which, took in (("median", median(seconds)), ("slowest", max(seconds))):
        found[f"+{DELIVERY:,} rows, {which} of {len(deliveries)} s"] = took
        found[f"+{DELIVERY:,} rows, {which}, share of the first build"] = took / first.seconds
    found["first build: peak memory GB"] = first.peak_gb
    found["reordered: peak memory GB"] = reordered.peak_gb
    found[f"+{DELIVERY:,} rows, largest peak memory GB"] = max(b.peak_gb for b in deliveries)
    questions = Path(__file__).with_name("questions.py")
    found |= in_process(questions, bench.folder, "--versions", versions, "--json")
    return found | bench.upkeep() | bench.plain()


class Bench:
    """A project in a folder, built stage by stage without Dagster.

    In a folder where one was begun it goes on with the files that are there.
    """

    def __init__(self, folder: Path, recipe: str = RECIPE, *, domain: int = DOMAIN, **said: str):
        from assets.graph import build_stages
        from assets.recipe import load_recipe
        from curation.store import Store

        self.folder, self.counted, self.delivered = folder, {}, 0
        self.slowest: dict[str, float] = {}
        self.files: Counter[str] = Counter()
        self.random, self.domain = random.Random(7), domain
        for name in ("seeds", "general", "test"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._write("seeds", [self._domain(i) for i in range(domain)])
        self._write("test", [self._domain(domain + i) for i in range(domain)])
        (folder / "bench.yaml").write_text(
            recipe.format(model=self._model(), **said), encoding="utf-8"
        )
        self.recipe = load_recipe(folder / "bench.yaml")
        self.store = Store(folder / "store")
        stages = build_stages(self.recipe)
        self.stages = stages[: [stage.name for stage in stages].index(LAST) + 1]

    def deliver(self, rows: int) -> None:
        """One more file of general rows."""
        lines = (self._general(self.delivered + i) for i in range(rows))
        self._write("general", lines)
        self.delivered += rows

    def complain(self, number: int, *, start: int = 0) -> None:
        """So many bad cases in the inbox."""
        from curation.bad_cases import add_bad_cases

        said = [self._domain(10 * self.domain + start + i) for i in range(number)]
        cases = [{"prompt": s["prompt"], "gold": s["answer"], "predicted": "{}"} for s in said]
        add_bad_cases(self.store, [(str(i), case) for i, case in enumerate(cases)])

    def reorder(self) -> None:
        """The lines of every general file the other way round."""
        for path in sorted((self.folder / "general").iterdir()):
            lines = path.read_text(encoding="utf-8").splitlines()
            path.write_text("\n".join(reversed(lines)) + "\n", encoding="utf-8")

    def build(self, what: str) -> float:
        """Seconds of one run of all stages."""
        from assets.stage import Job, run_stage

        started, slow = time.monotonic(), []
        for stage in self.stages:
            outcome = run_stage(Job(self.recipe, self.store, self._count), stage)
            slow.append((outcome.seconds, stage.name))
            if outcome.seconds > 20:
                print(
                    f"  {stage.name}: {outcome.seconds:.0f} s, {peak_gb():.2f} GB", file=sys.stderr
                )
        seconds = time.monotonic() - started
        self.slowest = {name: s for s, name in sorted(slow, reverse=True)[:8]}
        said = ", ".join(f"{name} {s:.1f}" for name, s in self.slowest.items())
        print(f"{what}: {seconds:.1f} s ({said})", file=sys.stderr)
        return seconds

    def build_apart(self, what: str) -> Built:
        """One run of all stages in a process of its own."""
        child = ("--child", self.folder, "--domain", self.domain, "--build", what)
        return Built(**in_process(__file__, *child))

    def plain(self) -> dict[str, float]:
        """The same rows as one Parquet file without a store, and read back through the store."""
        import polars as pl

        rows = self.head("rows")
        read_s, frame = timed(lambda: rows.table("rows"))
        path = self.folder / "plain.parquet"
        write_s, _ = timed(lambda: frame.write_parquet(path, compression="zstd"))
        plain_s, _ = timed(lambda: pl.read_parquet(path))
        store_s, _ = timed(lambda: self.store.write_version(
            "bench/copy", _made(frame), inputs={}, how={}))  # fmt: skip
        return {
            "plain Parquet write s": write_s,
            "store write s": store_s,
            "plain Parquet read s": plain_s,
            "store read s": read_s,
        }

    def release(self, number: int) -> None:
        """A registered model version on the present training set.

        Its training is left out, and every answer of its exam is given: that of the next question.
        """
        from curation.lineage.model import summarise_model
        from curation.store import Made

        inputs = {name: self.head(name) for name in (LAST, "bad_cases", "base_model", "rows")}
        lineage = summarise_model(inputs[LAST], inputs["bad_cases"], inputs["base_model"])
        asked = {name: self.head(name) for name in (LAST, "split_rows", "bad_cases")}
        exam = asked["split_rows"].table("exam")
        tables = {"rows": wrong_answers(exam), "leaks": exam.select("id").clear()}
        inputs["evaluation"] = self.store.write_version(
            "bench/evaluation", Made(tables=tables), inputs=asked, how={}
        )
        values = {
            "number": number, "id": f"{number:032x}", "promoted": True, "lineage": lineage,
            "verdict": {"rules": []}, "metrics": {"candidate": {}}, "failed_heldout": 0,
        }  # fmt: skip
        version = self.store.write_version(
            "bench/model_version", Made(values=values), inputs=inputs,
            how={"recipe": self.recipe.digest, "recipe_text": self.recipe.text},
        )  # fmt: skip
        self.store.publish(version)

    def upkeep(self) -> dict[str, float]:
        """Rollback of a step and removal of all but two versions."""
        from curation.upkeep import collect_garbage

        first = list(self.store.history(f"bench/{LAST}"))[-1]
        rollback_s, _ = timed(lambda: self.store.rollback(f"bench/{LAST}", first))
        gc_s, _ = timed(lambda: collect_garbage(self.store, keep=2))
        return {"rollback s": rollback_s, "collect garbage s": gc_s}

    def size(self) -> int:
        """Bytes of all objects."""
        files = (self.folder / "store" / "objects").rglob("*")
        return sum(path.stat().st_size for path in files if path.is_file())

    def _count(self, line: str) -> None:
        if found := WORK.search(line):
            self.counted[found[1]] = self.counted.get(found[1], 0) + int(found[2].replace(",", ""))

    def head(self, name: str) -> Any:
        """The newest version of a step."""
        return head(self.store, name)

    def _model(self) -> Path:
        """A base model of a few thousand parameters, for its tokenizer; made by another process."""
        lines = [json.dumps(self._general(i), ensure_ascii=False) for i in range(300)]
        if (self.folder / "model").exists():
            return self.folder / "model"
        subprocess.run(
            [sys.executable, "-c", MODEL, str(self.folder / "model")],
            input="\n".join(lines), text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        return self.folder / "model"

    def _general(self, number: int) -> dict[str, str]:
        said = "".join(self.random.choices(HAN, k=self.random.randint(12, 30)))
        answer = "".join(self.random.choices(HAN, k=self.random.randint(12, 40)))
        return {"prompt": f"{said}{number}", "answer": f"好的，{answer}"}

    def _domain(self, number: int) -> dict[str, str]:
        said = "".join(self.random.choices(HAN, k=8))
        return {
            "prompt": f"打开{said}{number}",
            "answer": f'{{"actions":[{{"do":"打开","what":"{said}{number}"}}]}}',
        }

    def _write(self, source: str, lines: Any) -> None:
        path = self.folder / source / f"{self.files[source]:04d}.jsonl"
        self.files[source] += 1
        written = (json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        if path.exists():
            deque(written, maxlen=0)  # the next lines follow from these
            return
        half = self.folder / f"{source}.part"
        with half.open("w", encoding="utf-8") as file:
            file.writelines(written)
        half.replace(path)


def wrong_answers(exam: Any) -> Any:
    """Cases of an exam, to each the right answer of the next one."""
    import polars as pl

    rows = [(row["messages"][-2]["content"], row["messages"][-1]["content"], row)
            for row in exam.iter_rows(named=True)]  # fmt: skip
    cases = [
        {"id": row["id"], "arm": "candidate", "split": row["split"], "prompt": prompt,
         "gold": gold, "predicted": following[1], "exact": False, "signature": "values"}
        for (prompt, gold, row), following in zip(rows, [*rows[1:], *rows[:1]], strict=True)
    ]  # fmt: skip
    return pl.DataFrame(cases)


def _made(frame: Any) -> Any:
    from curation.store import Made

    return Made(tables={"rows": frame})


def table(found: dict[int, dict[str, Any]]) -> str:
    """Figures by size as a Markdown table; what misses its aim at the largest size says so."""
    sizes = sorted(found)
    if len(sizes) > 1:
        found[sizes[-1]]["first build: growth exponent"] = _exponent(found, *sizes[-2:])
    lines = [
        ["", *(f"{rows:,} rows" for rows in sizes), "aim"],
        ["---", *("--:" for _ in sizes), ""],
    ]
    for name, value in found[sizes[-1]].items():
        shown = [_show(found[rows].get(name, "")) for rows in sizes]
        aim = next((most for end, most in AIMS.items() if name.endswith(end)), None)
        aim = ANSWER_S if ": " in name and name.endswith(" s") else aim
        missed = aim is not None and value > aim
        lines.append([name, *shown, f"≤ {aim:g}{', missed' if missed else ''}" if aim else ""])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _exponent(found: dict[int, dict[str, Any]], small: int, large: int) -> float:
    seconds = [found[rows]["first build s"] for rows in (small, large)]
    return math.log(seconds[1] / seconds[0]) / math.log(large / small)


def _show(value: Any) -> str:
    return (
        f"{value:,.3g}"
        if isinstance(value, float) and value < 1
        else (f"{value:,.2f}" if isinstance(value, float) else str(value))
    )


if __name__ == "__main__":
    sys.exit(main())
