"""How several processes part a model among themselves, and how it is whole again when it is kept.

With `fsdp` each holds a part of the weights, the gradients and the optimizer (FSDP2), with
`deepspeed` of the gradients and the optimizer (ZeRO-2). What is asked for is made sure of: a
library that quietly trains the whole model in every process would need all of the memory that was
to be saved.
"""

import importlib.util
from typing import Any, Literal

from training.methods import METHODS, Name

Shard = Literal["no", "fsdp", "deepspeed"]

_ZERO = {
    "zero_optimization": {"stage": 2},
    "bf16": {"enabled": "auto"},
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
}


def check_shard(shard: Shard, *, method: Name, processes: int) -> None:
    """Raise `ValueError` where there is nobody to part with, or a method that cannot be parted."""
    if shard == "no":
        return
    if processes == 1:
        raise ValueError(f"train.shard: {shard} parts a model among processes: set processes, too")
    if method == "adalora":
        raise ValueError(
            f"train.shard: {shard} and adalora do not go together, as it weighs its ranks by whole "
            "gradients; take lora"
        )
    if shard == "fsdp" and not METHODS[method].packs:
        raise ValueError(
            f"train.shard: fsdp and {method} do not go together, as its virtual tokens would stay "
            "whole beside weights in parts; take lora, or leave shard out"
        )


def require_library(shard: Shard, *, gpu: bool) -> None:
    """Raise `ValueError` where DeepSpeed cannot run: without GPUs, or where it is not installed."""
    if shard != "deepspeed":
        return
    if not gpu:
        raise ValueError(
            "train.shard: deepspeed needs GPUs, as accelerate 1.15 gathers no results of it among "
            "CPUs; take fsdp"
        )
    if importlib.util.find_spec("deepspeed") is None:
        raise ValueError("train.shard: deepspeed needs pip install 'winnow-sft[deepspeed]'")


def shard_arguments(shard: Shard, *, checkpoints: bool) -> dict[str, Any]:
    """The trainer's arguments; `checkpoints` has activations thrown away and made again."""
    match shard:
        case "no":
            return {"activation_checkpointing": checkpoints}
        case "fsdp":
            return {"fsdp": True, "fsdp_config": {"activation_checkpointing": checkpoints}}
        case "deepspeed":
            return {"activation_checkpointing": checkpoints, "deepspeed": _ZERO}


def parting(trainer: type) -> type:
    """The class of a trainer, with FSDP turned on where the processes have no GPUs.

    accelerate 1.15 turns it on for GPUs only, and says nothing where it does not.
    """

    class Parting(trainer):
        def create_accelerator_and_postprocess(self) -> None:
            from accelerate.state import PartialState
            from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

            super().create_accelerator_and_postprocess()
            state: Any = self.accelerator.state
            if self.args.fsdp and state.distributed_type == DistributedType.MULTI_CPU:
                state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
                # Each state made later takes the kind of the first one.
                PartialState().distributed_type = state.distributed_type = DistributedType.FSDP
                self.is_fsdp_enabled = True

    return Parting


def require_parted(trainer: Any, shard: Shard) -> None:
    """Raise `RuntimeError` unless the trainer parts the model as it was asked to."""
    parts = {"fsdp": trainer.is_fsdp_enabled, "deepspeed": trainer.is_deepspeed_enabled}
    if not parts.get(shard, True):
        raise RuntimeError(f"the model was to be parted with {shard}, and would not be")


def whole_weights(trainer: Any, shard: Shard) -> dict[str, Any] | None:
    """The weights with every process's part in them, for the first process; `None` where all have
    them whole. Every process must ask, as each gives its part.
    """
    if shard == "no":
        return None
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    tied = getattr(trainer.accelerator.unwrap_model(trainer.model), "all_tied_weights_keys", {})
    return {name: weight for name, weight in weights.items() if name not in (tied or {})}
