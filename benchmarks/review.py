"""What the review page costs the server: a verdict kept on disk and the next row, over HTTP.

    .venv/bin/python benchmarks/review.py [--rows 100000] [--verdicts 300] [--before 2000]

The store holds rows that were made here, with fates and scores as the steps write them. Each
verdict is one request: it is put into the inbox, synced, and answered with the next row. `--before`
verdicts are in the inbox already, each a delivery of its own, as the page leaves them.
"""

import argparse
import http.client
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import polars as pl

from curation.dedup import CONFLICT_SCHEMA
from curation.fates import kept
from curation.inbox import Known
from curation.review_desk import Desk
from curation.reviews import INBOX, add_verdicts
from curation.rows import EDGE_SCHEMA, canonical_json, dialogue, make_row, rows_frame
from curation.store import Made, Store
from curation.tasks.json_slots import json_slots
from pipelines.review.app import TOKEN_HEADER, review_app

AIM_MS = 50.0
"""Most that a row may take."""
TASK = json_slots(fields=["actions"], slots={"actions": ["do", "what"]}, system="你是车载助手。")
KEEP = ["perplexity < 300", "repetition < 0.6", "not label_conflict"]
HAN = "打开关闭空调车窗音乐导航回家公司温度调到风速大一点座椅加热播放歌明天早上提醒我给妈电话"
TOKEN = "only for this benchmark"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--verdicts", type=int, default=300)
    parser.add_argument("--before", type=int, default=2_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        ids = build_store(store, args.rows)
        print(f"{os.cpu_count()} cores, {args.rows:,} rows")
        for before in dict.fromkeys((0, args.before)):
            known = Known(INBOX, store)
            for i in ids[:before]:
                add_verdicts(store, [(i, {"id": i, "verdict": "accept"})], known=known)
            figures = measure(store, args.verdicts)
            print(f"{before:,} verdicts before: " + say(figures))
    return 0


def build_store(store: Store, n: int) -> list[str]:
    """Publish rows and what the steps up to the rules would say of them; their ids."""
    draw = random.Random(1)
    rows = rows_frame(_row(draw) for _ in range(n))
    fates = kept(rows)
    scores = rows.select(
        "id",
        perplexity=pl.Series([draw.gauss(250, 60) for _ in range(rows.height)]),
        repetition=pl.Series([draw.random() for _ in range(rows.height)]),
        label_conflict=pl.lit(False),
    )
    none = {"rows": rows.clear(), "edges": EDGE_SCHEMA.to_frame()}
    tables: dict[str, dict[str, pl.DataFrame]] = {
        "rows": {"rows": rows},
        "augmented_rows": none,
        "duplicates": {"fates": fates, "conflicts": CONFLICT_SCHEMA.to_frame()},
        "split_rows": {"rows": rows, "fates": fates},
        "kept_rows": {"fates": fates, "scores": scores},
    }
    for name, made in tables.items():
        version = store.write_version(f"bench/{name}", Made(tables=made), inputs={}, how={})
        store.publish(version)
    return rows["id"].to_list()


def measure(store: Store, n: int) -> dict[str, list[float]]:
    """Milliseconds of opening the desk, of each verdict with the next row, and of each undo."""
    start = time.perf_counter()
    desk = Desk(store, "bench", keep=KEEP, task=TASK, size=2 * n)
    found: dict[str, list[float]] = {"open": [_ms(start)], "verdict": [], "edit": [], "undo": []}
    with serve(desk) as ask:
        item = ask("next")["item"]
        for number in range(n):
            kind, said = "verdict", {"verdict": "reject", "reason": "wrong_answer", "seconds": 3.0}
            if number % 10 == 5:
                fixed = json.loads(item["answer"])
                fixed["actions"][0]["do"] = item["turns"][-1]["text"][:1]
                kind, said = "edit", said | {"answer": canonical_json(fixed)}
            start = time.perf_counter()
            if number % 10 == 9:
                kind, item = "undo", ask("undo")["item"]
            else:
                item = ask("say", id=item["id"], **said)["item"]
            found[kind].append(_ms(start))
    desk.close()
    return found


def say(figures: dict[str, list[float]]) -> str:
    """Median, 95th percentile and most of each kind of request."""
    lines = []
    for name, taken in figures.items():
        taken = sorted(taken)
        tail = taken[int(len(taken) * 0.95)]
        lines.append(f"{name} {median(taken):.0f} ms (95 %: {tail:.0f}, most {taken[-1]:.0f})")
    slow = sorted(figures["verdict"])[int(len(figures["verdict"]) * 0.95)] > AIM_MS
    return "; ".join(lines) + (f"; over {AIM_MS:.0f} ms" if slow else "")


@contextmanager
def serve(desk: Desk) -> Iterator[Any]:
    """A function that asks the page's server, over one connection as a browser does."""
    import uvicorn

    app = review_app(desk, token=TOKEN, hosts=["127.0.0.1"], shown=True)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    line = http.client.HTTPConnection("127.0.0.1", port)

    def ask(name: str, **said: Any) -> Any:
        body = json.dumps({"reviewer": "bench", **said})
        line.request("POST", f"/api/{name}", body, {TOKEN_HEADER: TOKEN})
        answer = line.getresponse()
        told = json.loads(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"{name}: {told['error']}")
        return told

    try:
        yield ask
    finally:
        line.close()
        server.should_exit = True
        thread.join()


def _row(draw: random.Random) -> dict[str, Any]:
    prompt = "".join(draw.choices(HAN, k=draw.randint(6, 18)))
    answer = canonical_json({"actions": [{"do": prompt[:2], "what": prompt[2:5]}]})
    return make_row(dialogue(prompt, answer, system=TASK.system), source="bench")


def _ms(start: float) -> float:
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    sys.exit(main())
