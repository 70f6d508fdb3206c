"""The offline base model: a small Qwen3-style causal LM, pre-trained on the general track.

It stands in for a hub model where there is no network or GPU. What it needs for slot tasks is to
copy, so Han characters and digits are never merged into longer tokens: a value looks the same in
the question and in the answer.
"""

import math
import time
from pathlib import Path
from typing import Any

import polars as pl

from curation.chat import encode_safe, quiet_libraries
from curation.progress import Progress, Report, silent

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"

CHAT_TEMPLATE = """\
{%- if tools %}{{ '<|im_start|>tools\\n' + tools | tojson + '<|im_end|>\\n' }}{% endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' %}
{%- generation %}
{{- message.content }}
{%- if message.tool_calls %}{{ '<tool_call>' + message.tool_calls | tojson }}{% endif %}
{{- '<|im_end|>' }}
{%- endgeneration %}
{%- else %}
{{- message.content + '<|im_end|>' }}
{%- endif %}
{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
"""ChatML; the end-of-turn token lies inside the trained span, so the model learns to stop."""


def pretrain_demo_model(
    rows: pl.DataFrame,
    *,
    out: Path,
    vocab_size: int = 1800,
    hidden: int = 128,
    layers: int = 4,
    steps: int = 800,
    seed: int = 0,
    report: Report = silent,
) -> dict[str, Any]:
    """Train tokenizer and model on `rows` (ROW_SCHEMA) and save both into the folder `out`.

    Returns n_params, vocab_size, n_rows, n_tokens, steps, loss (nats per answer token, mean of the
    last twenty steps), seconds and tokens_per_s. The same rows, options and thread count give the
    same bytes. Raises `ValueError` when there are no rows.
    """
    if not rows.height:
        raise ValueError("the demo base model needs general rows to learn from, got none")
    quiet_libraries()
    import torch

    started = time.monotonic()
    rows = rows.sort("id")
    tokenizer = _train_tokenizer(rows, vocab_size)
    blocks = _pack_blocks(encode_safe(tokenizer, rows["messages"].to_list()), block=BLOCK)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _new_model(tokenizer, hidden=hidden, layers=layers)
        losses = _fit(model, blocks, steps=steps, seed=seed, report=report)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    seconds = time.monotonic() - started
    return {
        "n_params": sum(p.numel() for p in model.parameters()),
        "vocab_size": len(tokenizer),
        "n_rows": rows.height,
        "n_tokens": int((blocks["position_ids"] >= 0).sum()),
        "steps": steps,
        "loss": sum(losses[-20:]) / len(losses[-20:]),
        "seconds": seconds,
        "tokens_per_s": steps * BLOCKS_PER_STEP * BLOCK / seconds,
    }


WORDS = "system user assistant tool"  # the template's own
HEAD = 64
BLOCK = 128  # tokens in a packed block; general rows hold 20 to 60
# The best of the few settings tried on two cores (docs/log.md); no full sweep was made.
BLOCKS_PER_STEP = 8
MUON_LR, ADAM_LR = 2e-2, 6e-3
PROMPT_SHARE = 0.1


def _train_tokenizer(rows: pl.DataFrame, vocab_size: int) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[\u3400-\u9fff\uf900-\ufaff]|\\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [m["content"] for turns in rows["messages"].to_list() for m in turns]
    # Only words of the rows and the template: a token that is never trained cannot be said.
    core.train_from_iterator(
        [*texts, *[f"{w}\n" for w in WORDS.split()] * (rows.height // 20 + 1)], trainer
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=END, pad_token=PAD, chat_template=CHAT_TEMPLATE
    )


def _pack_blocks(encoded: list[tuple[list[int], list[bool]]], *, block: int) -> dict[str, Any]:
    """First-fit rows into blocks of one length: input_ids, labels, position_ids, share (n, block).

    Positions start again with every row, which is what keeps rows apart in attention; padding has
    position -1 here and is never trained.
    """
    import numpy as np

    bins: list[list[tuple[list[int], list[bool]]]] = []
    room: list[int] = []
    for ids, mask in sorted(encoded, key=lambda e: -len(e[0])):
        ids, mask = ids[:block], mask[:block]
        at = next((i for i, r in enumerate(room) if r >= len(ids)), len(bins))
        if at == len(bins):
            bins.append([])
            room.append(block)
        bins[at].append((ids, mask))
        room[at] -= len(ids)
    out: dict[str, Any] = {
        k: np.zeros((len(bins), block), dtype=np.int64) for k in ("input_ids", "position_ids")
    }
    out["position_ids"] -= 1
    out["share"] = np.zeros((len(bins), block), dtype=np.float32)
    for at, segments in enumerate(bins):
        start = 0
        for ids, mask in segments:
            stop = start + len(ids)
            out["input_ids"][at, start:stop] = ids
            out["position_ids"][at, start:stop] = np.arange(len(ids))
            out["share"][at, start + 1 : stop] = np.where(mask[1:], 1.0, PROMPT_SHARE)
            start = stop
    return out


def _new_model(tokenizer: Any, *, hidden: int, layers: int) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        intermediate_size=3 * hidden,
        num_attention_heads=max(hidden // HEAD, 1),
        num_key_value_heads=max(hidden // HEAD, 1),
        head_dim=HEAD,
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},  # texts are short
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    return Qwen3ForCausalLM(config)


def _fit(
    model: Any, blocks: dict[str, Any], *, steps: int, seed: int, report: Report
) -> list[float]:
    import torch

    tensors = {k: torch.from_numpy(v) for k, v in blocks.items()}
    tensors["position_ids"] = tensors["position_ids"].clamp(min=0)
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    optimizers = [
        torch.optim.Muon(matrices, lr=MUON_LR, weight_decay=0.0),
        torch.optim.AdamW(others, lr=ADAM_LR, weight_decay=0.0, betas=(0.9, 0.95)),
    ]
    shape = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda s: _schedule(s, steps)) for o in optimizers
    ]
    progress, losses = Progress(steps, "pre-training step", report), []
    for batch in _batches(len(blocks["input_ids"]), steps=steps, seed=seed):
        loss = _loss(model, {k: v[batch] for k, v in tensors.items()})
        loss.backward()
        for step in (*optimizers, *shape):
            step.step()
        model.zero_grad(set_to_none=True)
        losses.append(loss.item())
        progress.step(note=f"loss {losses[-1]:.3f}")
    return losses


def _schedule(step: int, steps: int) -> float:
    """Short warm-up, then flat, then down to nothing over the last 60 %."""
    return min((step + 1) / 10, 1.0, (steps - step) / (0.6 * steps))


def _batches(n_blocks: int, *, steps: int, seed: int) -> Any:
    import torch

    generator = torch.Generator().manual_seed(seed)
    epochs = math.ceil(steps * BLOCKS_PER_STEP / n_blocks)
    order = torch.cat([torch.randperm(n_blocks, generator=generator) for _ in range(epochs)])
    return order[: steps * BLOCKS_PER_STEP].split(BLOCKS_PER_STEP)


def _loss(model: Any, batch: dict[str, Any]) -> Any:
    """Mean loss over next tokens, each counting by the share of its own target."""
    import torch

    hidden = model.model(
        input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
    ).last_hidden_state[:, :-1]
    share, targets = batch["share"][:, 1:], batch["input_ids"][:, 1:]
    counted = share > 0
    logits = model.lm_head(hidden[counted])
    nats = torch.nn.functional.cross_entropy(logits, targets[counted], reduction="none")
    return (nats * share[counted]).sum() / share.sum()
