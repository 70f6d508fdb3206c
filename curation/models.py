"""Language and reward models as functions over conversations: load, score, never train.

Rows are sorted by length and batched by a token budget; a row's number does not depend on its
neighbours beyond float noise, and a row that cannot be scored gives `None` and costs nobody else.
"""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from curation.chat import Messages, encode_chats, length_batches, quiet_libraries
from curation.progress import Progress, Report, silent

ADAPTER = "adapter_model.safetensors"
_CPU_TOKENS = 1_024
"""Tokens that a CPU reads together at most: it is busy with few, and has no cache for more. Models
of 4 and of 64 million parameters take a quarter and a third less time than with 8,192."""


def load_causal_lm(model: Path | str, *, adapter: Path | None = None, revision: str = "") -> Any:
    """The model for inference, in float32 on CPU and bfloat16 on GPU, with the adapter merged in.

    An adapter is merged into these weights and never into 4-bit ones, which would move the logits.
    One of virtual tokens cannot be: it stays before them. An adapter that is a whole model, as full
    fine-tuning leaves one, takes the place of `model`. Raises `FileNotFoundError` for one without
    safetensors: peft would look for a pickle instead.
    """
    if adapter is not None and is_whole(adapter):
        model, adapter, revision = adapter, None, ""
    if adapter is not None:
        _require_safe(adapter)
    quiet_libraries()
    import torch
    from transformers import AutoModelForCausalLM

    device = best_device()
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        str(model),
        revision=revision or None,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.bfloat16 if device == "cuda" else torch.float32,
        attn_implementation="sdpa",
    )
    if adapter is not None:
        loaded = attach_adapter(loaded, adapter)
        loaded = loaded if has_virtual_tokens(loaded) else loaded.merge_and_unload()
    return loaded.to(device).eval()


def attach_adapter(
    model: Any, adapter: Path, *, trainable: bool = False, config: Any = None
) -> Any:
    """The model with an adapter on it, by its own configuration or that which is given.

    Raises `FileNotFoundError` for one without safetensors.
    """
    _require_safe(adapter)
    from peft import PeftModel

    with warnings.catch_warnings():  # AdaLoRA's ranks are read twice, the second time in vain
        warnings.filterwarnings("ignore", "The following rank_pattern keys", RuntimeWarning)
        return PeftModel.from_pretrained(model, str(adapter), is_trainable=trainable, config=config)


def _require_safe(adapter: Path) -> None:
    if not (adapter / ADAPTER).is_file():
        raise FileNotFoundError(
            f"the adapter {str(adapter)!r} has no {ADAPTER}: weights of any other form are not read"
        )


def is_whole(adapter: Path) -> bool:
    """Whether a folder holds a whole model, and not what is added to one."""
    return (adapter / "config.json").is_file() and any(adapter.glob("model*.safetensors"))


def has_virtual_tokens(model: Any) -> bool:
    """Whether trained tokens stand before every row. Rows of different lengths are then not read
    together: peft would count the padding between those tokens and a shorter row."""
    return bool(getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False))


def load_reward_model(model: Path | str, *, revision: str = "") -> Any:
    """A sequence classifier with one output, for inference.

    Raises `ValueError` when the model has more than one output or does not know its padding token,
    without which a batch would be read at the wrong place.
    """
    loaded, _ = _load_classifier(model, revision)
    if loaded.config.num_labels != 1:
        raise ValueError(
            f"{str(model)!r} gives {loaded.config.num_labels} numbers a row; a reward is one"
        )
    return _ready(loaded, model)


def load_guard_model(model: Path | str, *, revision: str = "") -> Any:
    """A sequence classifier of several labels, for inference.

    Raises `ValueError` when the model has one output, does not know its padding token or brings no
    trained classifier: a random one would be put in its place.
    """
    loaded, missing = _load_classifier(model, revision)
    if missing:
        raise ValueError(f"{str(model)!r} is no trained classifier: it has no {sorted(missing)[0]}")
    if loaded.config.num_labels < 2:  # noqa: PLR2004
        raise ValueError(f"{str(model)!r} gives one number a row; a guard model has several labels")
    return _ready(loaded, model)


def rewards(
    model: Any,
    tokenizer: Any,
    chats: Sequence[Messages],
    *,
    tools: Sequence[str] = (),
    batch_tokens: int = 8192,
    report: Report = silent,
) -> list[float | None]:
    """The reward model's number (a logit, higher is better) for each conversation, or `None`."""

    encoded = [ids for ids, _ in encode_chats(tokenizer, chats, tools=tools)]
    limit = model.config.max_position_embeddings
    readable = [ids if len(ids) <= limit else [] for ids in encoded]
    logits = _classify(model, readable, batch_tokens=batch_tokens, what="reward", report=report)
    return [row[0] if row else None for row in logits]


def label_chances(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    batch_tokens: int = 8192,
    report: Report = silent,
) -> list[list[list[float]]]:
    """For each text the probabilities of the labels, 0..1, in each of the pieces it is read in.

    A text that is longer than the model can read is read in overlapping pieces; one of no tokens
    has none. Labels that exclude one another add up to 1 (softmax); those of a model that says
    `multi_label_classification` stand each for itself (sigmoid).
    """
    import torch

    # RoBERTa counts positions from the one after its padding token, so two of them are not to use.
    limit = min(tokenizer.model_max_length, model.config.max_position_embeddings - 2)
    pieces = tokenizer(
        list(texts),
        truncation=True,
        max_length=limit,
        stride=limit // 8,
        return_overflowing_tokens=True,
    )
    logits = _classify(
        model, pieces["input_ids"], batch_tokens=batch_tokens, what="guard model", report=report
    )
    chances: list[list[list[float]]] = [[] for _ in texts]
    for text, row in zip(pieces["overflow_to_sample_mapping"], logits, strict=True):
        if row is not None:
            numbers = torch.tensor(row, dtype=torch.float64)
            found = numbers.sigmoid() if are_independent(model) else numbers.softmax(dim=0)
            chances[text].append(found.tolist())
    return chances


def are_independent(model: Any) -> bool:
    """Whether several labels of a classifier may hold of one text."""
    return model.config.problem_type == "multi_label_classification"


def pad_batch(sequences: Sequence[Sequence[int]], *, pad: int, left: bool) -> dict[str, Any]:
    """input_ids, attention_mask and position_ids (rows, longest), all int64."""
    import torch

    longest = max(len(s) for s in sequences)
    inputs, mask, positions = (
        torch.zeros(len(sequences), longest, dtype=torch.int64) for _ in range(3)
    )
    inputs += pad
    for row, ids in enumerate(sequences):
        place = slice(longest - len(ids), longest) if left else slice(0, len(ids))
        inputs[row, place] = torch.tensor(ids)
        mask[row, place] = 1
        positions[row, place] = torch.arange(len(ids))
    return {"input_ids": inputs, "attention_mask": mask, "position_ids": positions}


def best_device() -> str:
    """`cuda` where there is a GPU, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _load_classifier(model: Path | str, revision: str) -> tuple[Any, set[str]]:
    """A sequence classifier, and the weights of it that its files do not hold."""
    quiet_libraries()
    import torch
    from transformers import AutoModelForSequenceClassification

    loaded, told = AutoModelForSequenceClassification.from_pretrained(
        str(model),
        revision=revision or None,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.bfloat16 if best_device() == "cuda" else torch.float32,
        output_loading_info=True,
    )
    return loaded, set(told["missing_keys"])


def _ready(classifier: Any, model: Path | str) -> Any:
    if classifier.config.pad_token_id is None:
        raise ValueError(f"{str(model)!r} has no pad_token_id in its config")
    return classifier.to(best_device()).eval()


def _classify(
    model: Any,
    sequences: Sequence[Sequence[int]],
    *,
    batch_tokens: int,
    what: str,
    report: Report,
) -> list[list[float] | None]:
    """A classifier's numbers (logits) for each sequence of token ids; `None` for an empty one."""
    import torch

    usable = [place for place, ids in enumerate(sequences) if ids]
    results: list[list[float] | None] = [None] * len(sequences)
    progress = Progress(len(usable), what, report)
    for batch in model_batches(model, [len(sequences[i]) for i in usable], batch_tokens):
        rows = [usable[b] for b in batch]
        # The classifier looks for its last token from the right, so padding goes there.
        inputs = pad_batch([sequences[r] for r in rows], pad=model.config.pad_token_id, left=False)
        del inputs["position_ids"]  # so padded they are the model's own, and not all count from 0
        with torch.inference_mode():
            logits = model(**{k: v.to(model.device) for k, v in inputs.items()}).logits
        for row, values in zip(rows, logits.double().tolist(), strict=True):
            results[row] = values
        progress.step(len(rows))
    return results


def model_batches(model: Any, lengths: Sequence[int], batch_tokens: int) -> Iterable[list[int]]:
    """Indices of the sequences that are read together."""
    batches = length_batches(lengths, max_tokens=most_tokens(model, batch_tokens))
    return alike_batches(batches, lengths) if has_virtual_tokens(model) else batches


def most_tokens(model: Any, batch_tokens: int) -> int:
    """Tokens that this model reads together: as many as are asked for, or as its device can use."""
    return min(batch_tokens, _CPU_TOKENS) if model.device.type == "cpu" else batch_tokens


def alike_batches(batches: Iterable[Sequence[int]], lengths: Sequence[int]) -> list[list[int]]:
    """The batches parted so that the sequences of each have one length."""
    return [
        [i for i in batch if lengths[i] == length]
        for batch in batches
        for length in sorted({lengths[i] for i in batch})
    ]
