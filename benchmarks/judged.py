"""What +1,000 rows cost the expensive steps, counted where the work is done.

    .venv/bin/python benchmarks/judged.py [--rows 100000] [--folder FOLDER]
    .venv/bin/python benchmarks/judged.py --rows 10000 --judge      an LLM judge among the scorers

Rows that pass through a model are counted at the model, calls at the endpoint (a scripted server),
signatures and token counts by what the steps say. The base model and the reward model, which is
trained on it, are of a few thousand parameters: this counts, and times nothing.
"""

import argparse
import os
import random
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.store import DELIVERY, HAN, RECIPE, Bench

CALLS = "calls to the language model"
JUDGED = RECIPE.replace(
    "augment: {{use: rules, per_seed: 1}}",
    "augment: {{use: llm, model: scripted, base_url: '{url}', api_key: BENCH_KEY}}",
).replace("scorers: {{", "scorers: {{model_perplexity: {{}}, reward: {{}}, ")
JUDGE = "llm_judge: {{model: scripted, base_url: '{url}', api_key: BENCH_KEY}}, "
KEY = "the-scripted-server-asks-for-none"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--judge", action="store_true", help="two calls for each row besides")
    parser.add_argument("--folder", type=Path, help="keep the project there, and go on if killed")
    args = parser.parse_args()
    os.environ["BENCH_KEY"] = KEY
    with tempfile.TemporaryDirectory() as folder:
        for line in measure(args.folder or Path(folder), args.rows, JUDGE if args.judge else ""):
            print(line, flush=True)
    return 0


def measure(folder: Path, rows: int, judge: str) -> Iterator[str]:
    """Lines of a Markdown table: what was done, and how often each expensive step worked."""
    from curation.scripted_llm import ScriptedLLM

    counted: Counter[str] = Counter()
    with counting(counted), ScriptedLLM(answer) as server:
        said = JUDGED.replace("scorers: {{", "scorers: {{" + judge)
        bench = Bench(folder, said, url=server.base_url)
        bench.counted = counted
        for what, prepare in (
            (f"{rows:,} rows and 40 bad cases", lambda: (bench.complain(40), bench.deliver(rows))),
            ("nothing new", lambda: None),
            (f"+{DELIVERY:,} rows", lambda: bench.deliver(DELIVERY)),
            ("the same rows in another order", bench.reorder),
            ("+10 bad cases", lambda: bench.complain(10, start=40)),
        ):
            prepare()
            counted.clear()
            before = server.count
            bench.build(what)
            found = dict(counted) | {CALLS: server.count - before}
            yield f"| {what} | " + ", ".join(f"{k} {n:,}" for k, n in sorted(found.items())) + " |"


@contextmanager
def counting(counted: Counter[str]) -> Iterator[None]:
    """Rows that go through a whole model are added to `counted`, under what the model is for."""
    from transformers import PreTrainedModel

    called = PreTrainedModel.__call__

    def call(self: Any, *args: Any, **said: Any) -> Any:
        name = type(self).__name__.partition("For")[2]
        if name and not self.training:
            counted[f"through {name}"] += len(said["input_ids"])
        return called(self, *args, **said)

    PreTrainedModel.__call__ = call
    try:
        yield
    finally:
        PreTrainedModel.__call__ = called


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Rows that differ from call to call, to a judge a grade."""
    if "score" in request["messages"][0]["content"]:
        return {"score": 4}
    draw = random.Random(zlib.crc32(str(request["messages"]).encode()))
    said = ["".join(draw.choices(HAN, k=10)) for _ in range(20)]
    rows = [
        {"from": 1, "prompt": f"打开{s}", "answer": {"actions": [{"do": "打开", "what": s}]}}
        for s in said
    ]
    return {"rows": rows}


if __name__ == "__main__":
    sys.exit(main())
