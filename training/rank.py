"""One of several processes that train together.

`python -m training.rank SPEC` does the call of a specification with the process's place taken from
RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as `torchrun` sets them: the supervisor
starts these processes on one machine (`run_ranks`), and torchrun may start them on several. The
first says JSON lines on stdout; the result is the last of them.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Say = Callable[[dict[str, Any]], None]


def main() -> None:
    """Do this process's part; exit code 0, or 1 with the error said by whoever met it."""
    from training.worker import do_call, end_with_parent, take_stdout

    say = take_stdout()
    end_with_parent()
    first = os.environ.get("RANK", "0") == "0"
    try:
        spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        result = do_call(spec, say if first else _nothing)
        if first:
            say({"result": result})
    except Exception as error:
        traceback.print_exc()
        say({"error": type(error).__name__, "message": str(error)})
        sys.stdout.flush()
        os._exit(1)  # the others wait for this one, and a tidy end would wait for them


def run_ranks(spec: Mapping[str, Any], *, count: int, workdir: Path, say: Say) -> Any:
    """The result of the call done by `count` processes on this machine, as the first one says it.

    When one fails all are ended; raises `ValueError` for what it refused and `RuntimeError` for
    everything else.
    """
    file = workdir / "ranks.json"
    file.write_text(json.dumps(dict(spec), ensure_ascii=False, default=str), encoding="utf-8")
    shared = os.environ | {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": str(_free_port())}
    shared.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    ranks = [_start(file, {**shared, "RANK": str(n), "LOCAL_RANK": str(n)}) for n in range(count)]
    try:
        outcome = _follow(ranks, say)
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    if "result" in outcome:
        return outcome["result"]
    raise (ValueError if outcome.get("error") == "ValueError" else RuntimeError)(
        outcome.get("message", "a training process ended without a word; see the log")
    )


def require_world(processes: int) -> None:
    """Raise `RuntimeError` unless so many processes train together: fewer would each do it all."""
    found = int(os.environ.get("WORLD_SIZE", "1"))
    if found != processes:
        raise RuntimeError(f"{processes} processes were to train together, {found} do")


def _start(file: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """A process of our own group, so that whoever ends us ends it too."""
    return subprocess.Popen(
        [sys.executable, "-m", "training.rank", str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=dict(environment),
    )


def _follow(ranks: list[subprocess.Popen[str]], say: Say) -> dict[str, Any]:
    """What the first says until it ends; the others speak only of what goes wrong."""
    last: list[dict[str, Any]] = [{} for _ in ranks]
    ears = [
        threading.Thread(target=_listen, args=(rank, said, say), daemon=True)
        for rank, said in zip(ranks, last, strict=True)
    ]
    for ear in ears:
        ear.start()
    # When one has failed the rest would wait for it for ever.
    while any(rank.poll() is None for rank in ranks) and not any(rank.poll() for rank in ranks):
        time.sleep(0.05)
    for rank, ear in zip(ranks, ears, strict=True):
        if rank.poll() is not None:
            ear.join()
    failed = next((said for said in last if "error" in said), {})
    return failed or (last[0] if all(rank.poll() == 0 for rank in ranks) else {})


def _listen(rank: subprocess.Popen[str], last: dict[str, Any], say: Say) -> None:
    """Pass on a process's lines until it ends, and keep what else it says."""
    assert rank.stdout is not None
    for line in rank.stdout:
        said = json.loads(line)
        if "line" in said:
            say(said)
        else:
            last.update(said)


def _nothing(_said: dict[str, Any]) -> None:
    """What all but the first say."""


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


if __name__ == "__main__":
    main()
