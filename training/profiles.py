"""Kinds of machines: what each can hold and do, and how training uses it.

One table with its reasons. A profile is found by the machine at hand, or named to train, or only to
plan, on another kind. Left out on purpose: Liger, which TRL 1.16 gives up; compiling, as each
length of a sequence would be compiled anew; TF32, as matrices have 16 bits on a GPU.
"""

import dataclasses
import os
from dataclasses import dataclass
from typing import Any, Literal

ProfileName = Literal["auto", "hopper", "24gb", "cpu"]
GB = 1e9
RESERVED = 0.1
"""Share of the memory that the libraries themselves and its fragments take."""


@dataclass(frozen=True)
class Profile:
    """A kind of machine: its memory (GB), its rate (10^12 operations a second) and its settings.

    `share` is what training reaches of the rate. `checkpoints`: activations are thrown away and
    made again. `reasons` say why, for people.
    """

    name: str
    about: str
    memory_gb: float
    tera: float
    share: float
    gpu: bool
    optimizer: str
    checkpoints: bool
    attention: str
    reasons: tuple[str, ...]

    @property
    def room_gb(self) -> float:
        """The memory that a run may plan with."""
        return self.memory_gb * (1 - RESERVED)


_REACHED = "0.35 of it reached: between the 0.21 and 0.46 of Chowdhery et al. 2022, table 3"
_GPU_REASONS = (
    "numbers of 16 bits (bfloat16), adapters and optimizer of 32: matrices run many times as fast",
    "activations made again: memory for longer sequences costs a third of the time (Chen et al. "
    "2016)",
    "fused AdamW: one kernel for all weights in place of several for each",
    "SDPA attention: comes with torch, and keeps packed rows apart",
)

PROFILES: dict[str, Profile] = {
    "hopper": Profile(
        "hopper", "Hopper (H100, H200)", 80, 989, 0.35, True, "adamw_torch_fused", True, "sdpa",
        (f"989 · 10^12 operations a second: NVIDIA's data sheet of the H100 SXM; {_REACHED}",
         *_GPU_REASONS),
    ),
    "24gb": Profile(
        "24gb", "24 GB card (RTX 4090, A10, L4)", 24, 120, 0.35, True, "adamw_torch_fused", True,
        "sdpa",
        (f"120 · 10^12 operations a second: the L4, slowest of these by their data sheets "
         f"(A10 125, RTX 4090 165); {_REACHED}", *_GPU_REASONS),
    ),
    "cpu": Profile(
        "cpu", "CPU", 16, 0.05, 0.5, False, "adamw_torch", False, "sdpa",
        ("0.05 · 10^12 operations a second of a core, half of it reached: 10,000 tokens a second "
         "of the demo's 0.85 million weights on two cores come to it",
         "numbers of 32 bits: what a CPU is fast at, and a repeated run has the same bytes",
         "activations kept: making them again cost 13 to 18 % of the time on two cores"),
    ),
}  # fmt: skip


def take_profile(asked: ProfileName = "auto") -> Profile:
    """The profile of that name as it stands in the table, or the nearest to this machine with what
    this machine has of memory and cores."""
    if asked != "auto":
        return PROFILES[asked]
    import psutil
    import torch

    if not torch.cuda.is_available():
        cores = torch.get_num_threads() or os.cpu_count() or 1
        found: dict[str, Any] = {"memory_gb": psutil.virtual_memory().total / GB}
        cpu = PROFILES["cpu"]
        return dataclasses.replace(cpu, tera=cpu.tera * cores, **found)
    card = torch.cuda.get_device_properties(0)
    near = PROFILES["hopper" if card.major >= 9 else "24gb"]  # noqa: PLR2004 - compute capability
    return dataclasses.replace(near, about=card.name, memory_gb=card.total_memory / GB)


def is_here(profile: Profile) -> bool:
    """Whether this machine has what the profile needs."""
    import torch

    return not profile.gpu or torch.cuda.is_available()


def require_here(profile: Profile) -> None:
    """Raise `ValueError` where a profile wants a GPU and there is none."""
    if not is_here(profile):
        raise ValueError(
            f"train.profile: {profile.name} wants a GPU, of which there is none here; leave it out"
        )
