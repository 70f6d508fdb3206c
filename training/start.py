"""Going on from an adapter that was trained before, in place of a new one on the base model."""

import json
from pathlib import Path
from typing import Any

from curation.models import attach_adapter
from training.methods import METHODS, Name

SAME = ("peft_type", "r", "lora_alpha", "use_dora")
"""What must not differ between the adapter that is there and the options of the run."""


def go_on_from(model: Any, start: Path, *, method: Name, config: Any) -> Any:
    """The model with the adapter of the folder `start` on it, to be trained on.

    `config` is what a new adapter would have. Raises `ValueError` where that one is another: a rank
    cannot be changed. Of AdaLoRA and P-tuning peft does not keep all that training needs, and saved
    virtual tokens it loads only to be used.
    """
    from peft import PeftConfig

    known = METHODS[method]
    if config is None or not (known.resumes and known.packs):
        why = "trains the whole model" if config is None else "cannot be trained on by peft"
        raise ValueError(f"train.start: {method} {why}, so a new run begins anew; leave start out")
    there = json.loads((start / "adapter_config.json").read_text(encoding="utf-8"))
    here = config.to_dict() | {"peft_type": config.peft_type.value}
    name = next((name for name in SAME if there.get(name) != here.get(name)), "")
    if name:
        said = f"{name} {there.get(name)} there, {here.get(name)} here"
        raise ValueError(f"train.start: the adapter to go on from is another: {said}")
    saved = PeftConfig.from_pretrained(str(start))
    saved.base_model_name_or_path = model.name_or_path  # the saved one has no folder in it
    return attach_adapter(model, start, trainable=True, config=saved)
