"""numba as the kernels use it: compiled once and kept on disk, without the lock of Python.

A file of kernels shares no function with another: numba's cache looks at the file of a function
only, and what a kernel calls would change unseen.
"""

from collections.abc import Callable
from typing import Any

import numba  # type: ignore[import-untyped]
from numba.core import config  # type: ignore[import-untyped]
from numba.core.codegen import get_host_cpu_features  # type: ignore[import-untyped]

njit: Any = numba.njit
settings: Any = config

if settings.CPU_FEATURES is None and "+avx512f" in (features := get_host_cpu_features()):
    # LLVM keeps to half of the widest registers, since the first processors that had them went
    # slower by it. Signatures, which are mostly multiplications, take two thirds of the time so.
    settings.CPU_FEATURES = f"{features},-prefer-256-bit"


def compiled(function: Callable[..., Any]) -> Any:
    """The function as machine code."""
    return njit(function, cache=True, nogil=True)


def uncounted(function: Callable[..., Any]) -> Any:
    """The same for one that makes no array, and so need not count who holds those it is given.

    Counting is an atomic step for each array at each call: half of the time of a short function.
    """
    return njit(function, cache=True, nogil=True, _nrt=False)


def inlined(function: Callable[..., Any]) -> Any:
    """The same for one that is written into whatever calls it."""
    return njit(function, cache=True, nogil=True, inline="always")
