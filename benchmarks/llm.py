"""Calls to a language model behind a limit: how much of the limit is used, and what is lost.

    .venv/bin/python benchmarks/llm.py                      all clients (minutes)
    .venv/bin/python benchmarks/llm.py --only winnow openai --retry-after none

A scripted server in a process of its own answers after 200 ms and admits 100 requests a second,
with a reserve of one second. What is too much gets 429 with whole seconds to wait, or without a
word (`--retry-after none`). Nobody is told the limit but Curator, which else keeps to its own. Time
is taken by the server, from the first question to the last answer. Each client is installed into an
environment of its own in the cache folder, and one that cannot be, or that does not end within five
minutes, is named in the table with the reason.

Share is answers a second by what the server admits, a row is lost that has no answer at the end,
and a call is paid twice whose question the server answered before.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import dedup
from benchmarks.dedup import Environment, Missing, say

PEERS = Path(__file__).with_name("peers")
LATENCY_S, PER_S = 0.2, 100.0
LIMIT_S = 300
SHARE, REFUSED = 0.85, 0.05


class Client(NamedTuple):
    """One way to ask, and the environment it needs besides ours."""

    name: str
    script: str
    environment: str = ""


OURS = "winnow"
CLIENTS = (
    Client(OURS, "ask_winnow.py"),
    Client("openai, semaphore of 64", "ask_openai.py"),
    Client("distilabel", "ask_distilabel.py", "distilabel"),
    Client("Bespoke Curator, told the limit", "ask_curator.py", "bespokelabs-curator"),
)
dedup.ENVIRONMENTS |= {
    # It imports requests and setuptools without asking for them.
    "distilabel": Environment(
        ("distilabel[openai]==1.5.3", "openai==3.54.0", "requests==2.34.2", "setuptools==65.5.0")
    ),
    "bespokelabs-curator": Environment(("bespokelabs-curator==0.1.31",)),
}


class Measured(NamedTuple):
    """What the server saw of a client, and what the client says."""

    version: str
    seconds: float
    requests: int
    limited: int
    lost: int
    paid_twice: int


def main() -> int:
    about, examples = str(__doc__).split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=about, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_500)
    parser.add_argument("--only", nargs="+", default=[], help="clients whose name has this")
    parser.add_argument("--retry-after", choices=["seconds", "none"], default="seconds")
    parser.add_argument("--cache", type=Path, default=dedup.CACHE, help="environments")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.retry_after == "seconds")
    chosen = [c for c in CLIENTS if not args.only or any(o in c.name for o in args.only)]
    print(
        f"{os.cpu_count()} cores; Python {sys.version.split()[0]}; {args.rows:,} rows; "
        f"{PER_S:g} requests/s, {LATENCY_S * 1000:g} ms, Retry-After: {args.retry_after}\n"
    )
    head = ["", "version", "seconds", "share of the limit", "requests", "429", "rows lost"]
    print(f"| {' | '.join([*head, 'paid twice'])} |\n|---|---|{'---:|' * 6}", flush=True)
    notes = []
    for client in chosen:
        say(client.name)
        try:
            found = measure(client, args)
        except Missing as reason:
            print(f"| {client.name} | left out: {reason} |{' |' * 6}", flush=True)
            continue
        print(_line(client, found, args.rows), flush=True)
        notes += _judge(found, args.rows) if client.name == OURS else []
    print("\n" + "\n".join(notes))
    return 0


def serve(tell: bool) -> int:
    """The endpoint: prints its address, and when its input ends what it saw."""
    from curation.scripted_llm import Failure, ScriptedLLM

    times, asked, lock = [], Counter[str](), threading.Lock()

    def tick(request: dict[str, Any]) -> None:
        if request.get("messages"):  # Curator first sends a request without, to read the headers
            times.append(time.monotonic())

    def respond(request: dict[str, Any]) -> str:
        with lock:
            asked[str(request.get("messages"))] += 1
            tick(request)
        return "好的, this is the answer."

    class Endpoint(ScriptedLLM):
        def answer(self, request: dict[str, Any]) -> Failure:
            with lock:
                tick(request)
            said = super().answer(request)
            return said if tell or said.status != 429 else Failure(429, said.body)

    with Endpoint(respond, latency_s=LATENCY_S, requests_per_s=PER_S) as server:
        print(server.base_url, flush=True)
        sys.stdin.read()
        found = {
            "seconds": max(times) - min(times) if times else 0.0,
            "requests": server.count,
            "limited": server.limited,
            "paid_twice": asked.total() - len(asked),
        }
    print(json.dumps(found))
    return 0


def measure(client: Client, args: argparse.Namespace) -> Measured:
    """Run a client against a server of its own."""
    python = dedup.environment(client.environment, args.cache)
    root = str(Path(__file__).parents[1])
    command = [sys.executable, __file__, "--serve", "--retry-after", args.retry_after]
    with (
        tempfile.TemporaryDirectory() as name,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server,
    ):
        assert server.stdin and server.stdout
        output = Path(name) / "found.json"
        asked = [python, PEERS / client.script, server.stdout.readline().strip(), output]
        env = os.environ | ({} if client.environment else {"PYTHONPATH": root})
        try:
            done = subprocess.run(
                [*map(str, asked), "--rows", str(args.rows)], cwd=name, env=env, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Missing(f"stopped after {LIMIT_S} s") from None
        finally:
            server.stdin.close()
            seen = json.loads(server.stdout.read())
        if done.returncode:
            raise Missing(([*done.stdout.splitlines(), ""])[-2].strip()[:160])
        said = json.loads(output.read_text())
    return Measured(said["version"], lost=args.rows - said["answered"], **seen)


def _line(client: Client, found: Measured, rows: int) -> str:
    version = "" if client.name == OURS else found.version
    cells = (
        client.name, version, f"{found.seconds:.1f}", f"{_share(found, rows):.0%}",
        f"{found.requests:,}", f"{found.limited / found.requests:.1%}",
        f"{found.lost:,} ({found.lost / rows:.1%})", f"{found.paid_twice:,}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _share(found: Measured, rows: int) -> float:
    """Answers by what the server would admit in that time, the reserve at the start included."""
    return (rows - found.lost) / (PER_S * (found.seconds + 1 - LATENCY_S))


def _judge(found: Measured, rows: int) -> list[str]:
    """What ours came to beside its aims."""
    share, refused = _share(found, rows), found.limited / found.requests
    return [
        f"- {OURS}: {what} (aim {aim}: {'met' if met else 'missed'})"
        for what, aim, met in (
            (f"{share:.0%} of the limit", f"{SHARE:.0%}", share >= SHARE),
            (f"{refused:.1%} refused", f"{REFUSED:.0%}", refused <= REFUSED),
            (f"{found.lost:,} rows lost", "0", not found.lost),
            (f"{found.paid_twice:,} calls paid twice", "0", not found.paid_twice),
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
