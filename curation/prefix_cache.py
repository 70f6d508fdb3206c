"""What a model keeps of the tokens that many rows begin with, lent to all of them.

A file of its own, imported where a model is read: PyTorch and transformers take seconds to load.
"""

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


def lend_cache(read: Any) -> Cache | None:
    """The cache of one sequence for as many rows at a time as are read behind it, again and again.

    None where the model keeps something other than keys and values of every token, as it does with
    sliding windows or linear attention: rows cannot be read behind that.
    """
    if {type(layer) for layer in read.layers} != {DynamicLayer}:
        return None
    return Cache([_LentLayer(layer) for layer in read.layers])


class _LentLayer(DynamicLayer):
    """Keys and values of a layer that a batch reads on behind and leaves as they are.

    So they serve the next batch, and what is joined to them is gone when the layer is computed.
    """

    def __init__(self, read: DynamicLayer):
        super().__init__()
        self.keys, self.values, self.is_initialized = read.keys, read.values, True

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        return _behind(self.keys, key_states), _behind(self.values, value_states)


def _behind(lent: Any, new: Any) -> Any:
    return torch.cat([lent.expand(len(new), -1, -1, -1), new], dim=-2)
