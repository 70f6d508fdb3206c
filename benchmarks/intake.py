"""What it costs to take bad cases in: lines of files, and posts that wait for the disk.

    python benchmarks/intake.py --lines 100000 --seconds 10

Beside each stands a limit of the same machine, measured in the same run: for lines, to read and
decode them and nothing else; for posts, how often the disk takes a small file durably, one after
the other, for whoever did not let posts share a delivery could not be faster.
"""

import argparse
import http.client
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

BULK_AIM, POSTS_AIM = 5_000, 200
TOKEN = "benchmark-token-0123456789"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=100_000, help="of a file (default 100,000)")
    parser.add_argument("--seconds", type=float, default=10, help="of posting (default 10)")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        port, size, name = args.child
        print(json.dumps(post_from(int(port), args.clients, args.seconds, int(size), name)))
        return 0
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        base = Path(folder)
        print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {args.lines:,} lines\n")
        bulk(base, args.lines)
        print()
        posts(base, args.clients, args.seconds)
    return 0


def bulk(base: Path, n: int) -> None:
    """A file of each form by the command line, each into an empty inbox, then the first again."""
    import polars as pl

    cases = [case(i) for i in range(n)]
    files = {"plain": write(base / "plain.jsonl", cases),
             "chat": write(base / "chat.jsonl", map(chat, cases)),
             "langfuse": write(base / "langfuse.jsonl", map(trace, cases))}  # fmt: skip
    pl.DataFrame(cases).write_parquet(base / "plain.parquet")
    files["plain, Parquet"] = base / "plain.parquet"
    print("| file | MB | lines/s | CPU s | only decoding, lines/s | |\n|---|--:|--:|--:|--:|---|")
    for name, path in files.items():
        seconds, cpu = add(path, base / f"store-{name}")
        row(name, path, n, seconds, cpu)
    seconds, cpu = add(files["plain"], base / "store-plain")
    row("plain, all known", files["plain"], n, seconds, cpu)


def row(name: str, path: Path, n: int, seconds: float, cpu: float) -> None:
    limit = "–"
    if path.suffix == ".jsonl":
        started = time.perf_counter()
        with path.open("rb") as file:
            for line in file:
                json.loads(line)
        limit = f"{n / (time.perf_counter() - started):,.0f}"
    said = f"aim {BULK_AIM:,}: {'met' if n / seconds >= BULK_AIM else 'missed'}"
    size = path.stat().st_size / 1e6
    print(
        f"| {name} | {size:.1f} | {n / seconds:,.0f} | {cpu:.1f} | {limit} | {said} |", flush=True
    )


def add(path: Path, store: Path) -> tuple[float, float]:
    """Seconds and CPU seconds of `winnow bad-cases add`, its start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [sys.executable, "-m", "pipelines.cli", "bad-cases", "add", str(path)]
    subprocess.run(
        [*command, "--store", str(store)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def posts(base: Path, clients: int, seconds: float) -> None:
    """Clients that post one after the other, to an empty inbox and to the one of the bulk."""
    print(f"{clients} clients, {seconds:g} s each\n")
    print("| inbox before | lines a post | posts/s | lines/s | ms, median | ms, 99 % | "
          "posts a delivery | durable files/s of the disk | |")  # fmt: skip
    print("|---|--:|--:|--:|--:|--:|--:|--:|---|")
    for name, store in (("empty", base / "fresh"), ("the bulk", base / "store-plain")):
        for size in (1, 20):
            disk = durable_files(base)
            found = serve_and_post(store, clients, seconds, size)
            rate = found["posts"] / found["seconds"]
            said = f"aim {POSTS_AIM}: {'met' if rate >= POSTS_AIM else 'missed'}"
            cells = [name, size, f"{rate:,.0f}", f"{rate * size:,.0f}", f"{found['median']:.1f}",
                     f"{found['p99']:.1f}", f"{found['posts'] / found['files']:.1f}",
                     f"{disk:,.0f}", said]  # fmt: skip
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def durable_files(base: Path, *, seconds: float = 2.0) -> float:
    """How many small files a second the store's own disk operations make durable, one by one."""
    from curation.disk import Disk, save_new

    folder, disk, n = Path(tempfile.mkdtemp(dir=base)), Disk(), 0
    data = json.dumps(case(0), ensure_ascii=False).encode()
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        save_new(disk, folder / f"{n}.jsonl", data, staging=base)
        n += 1
    return n / (time.perf_counter() - started)


def serve_and_post(store: Path, clients: int, seconds: float, size: int) -> dict[str, Any]:
    """What clients in a process of their own measured at a server in another."""
    environment = os.environ | {"WINNOW_INTAKE_TOKEN": TOKEN}
    server = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "serve", "--port", "0", "--store", str(store)],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout
    port = server.stdout.readline().rpartition(":")[2].partition("/")[0]
    before = len(list((store / "intake").glob("*.jsonl")))
    child = [sys.executable, __file__, "--clients", str(clients), "--seconds", str(seconds)]
    done = subprocess.run(
        [*child, "--child", port, str(size), store.name], stdout=subprocess.PIPE, check=True
    )
    server.terminate()
    server.wait()
    files = len(list((store / "intake").glob("*.jsonl"))) - before
    return json.loads(done.stdout) | {"files": files}


def post_from(port: int, clients: int, seconds: float, size: int, name: str) -> dict[str, Any]:
    """Posts of new cases until the time is over; each waits for its answer."""
    took: list[float] = []
    started = time.perf_counter()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        n = 0
        while time.perf_counter() - started < seconds:
            said = [case(n * size + i, f"{name}{number}/{size}") for i in range(size)]
            body = json.dumps(said, ensure_ascii=False).encode()
            sent = time.perf_counter()
            connection.request("POST", "/v1/bad-cases", body, HEADERS)
            answer = connection.getresponse()
            assert answer.status == 200 and json.loads(answer.read())["new"] == size
            took.append(time.perf_counter() - sent)
            n += 1
        connection.close()

    threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cuts = statistics.quantiles(took, n=100)
    spent = time.perf_counter() - started
    return {"posts": len(took), "seconds": spent, "median": cuts[49] * 1e3, "p99": cuts[98] * 1e3}


def case(number: int, who: str = "") -> dict[str, str]:
    gold = f'{{"actions":[{{"do":"打开","what":"{number}号座椅加热"}}]}}'
    prompt = f"{who}麻烦把第{number}号座椅的加热打开，再调到二档"
    return {"prompt": prompt, "gold": gold, "predicted": gold.replace("打开", "关闭")}


def chat(said: dict[str, str]) -> dict[str, Any]:
    turns = [{"role": "system", "content": "你是车载助手"},
             {"role": "user", "content": said["prompt"]},
             {"role": "assistant", "content": said["predicted"]}]  # fmt: skip
    return {"messages": turns, "correction": said["gold"], "model": "m-1"}


def trace(said: dict[str, str]) -> dict[str, Any]:
    score = {"name": "output", "dataType": "CORRECTION", "value": said["gold"]}
    return {"id": said["prompt"], "htmlPath": "/p/1", "input": chat(said)["messages"][:2],
            "output": {"role": "assistant", "content": said["predicted"]}, "scores": [score],
            "observations": []}  # fmt: skip


def write(path: Path, records: Any) -> Path:
    lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in records)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(lines)
    return path


if __name__ == "__main__":
    sys.exit(main())
