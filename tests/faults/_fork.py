"""Children that are cheap: forked before Polars has run, ended without any clearing up."""

import os
import traceback
from collections.abc import Callable

ACKNOWLEDGED, BROKEN = 0, 4


def fork(work: Callable[[], object]) -> int:
    """Do this in a child, and return its process id; `wait` says whether it came through."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(BROKEN)
    os._exit(ACKNOWLEDGED)


def wait(pid: int) -> int:
    """The exit code of a child, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
