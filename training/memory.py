"""How much memory this process has held at most: what an estimate is to be believed by."""

import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_memory_mb() -> int:
    """Megabytes, of the GPU where one was used, else of this process with its libraries.

    On Linux not `ru_maxrss`, which begins with the peak of the process that started this one.
    """
    import torch

    if torch.cuda.is_available() and (used := torch.cuda.max_memory_allocated()):
        return used >> 20
    if _STATUS.exists():
        line = next(x for x in _STATUS.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) >> 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 20  # macOS counts bytes
