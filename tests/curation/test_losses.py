"""Losses of rows that begin alike: those of each row alone, for less reading."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from curation.chat import encode_chats, load_tokenizer
from curation.losses import answer_losses, span_losses
from curation.models import load_causal_lm
from curation.rows import dialogue
from tests.conftest import copy_rows

RULES_ZH = (
    "你是车载助手，把指令转成JSON，只输出JSON，不要解释。动作只能是打开、关闭、调高、调低。" * 2
)
RULES_EN = "You are an in-car assistant. Answer with one JSON object and nothing else. " * 3
TOOLS = json.dumps(
    [{"name": "set_window", "description": "开关车窗", "parameters": {"percent": "0 to 100"}}] * 3
)


def mixed_chats() -> tuple[list[list[dict[str, str]]], list[str]]:
    """Rows with rules in both languages, with tools, of several turns and with none of these."""
    pairs = [(c[-2]["content"], c[-1]["content"]) for c in copy_rows(36, seed=2)["messages"]]
    chats = [dialogue(asked, said, system=RULES_ZH) for asked, said in pairs[:12]]
    chats += [dialogue(f"Copy {asked}", said, system=RULES_EN) for asked, said in pairs[12:24]]
    chats += [dialogue(*pairs[0], system=RULES_ZH) + dialogue(*pair) for pair in pairs[24:28]]
    chats += [dialogue(*pair) for pair in pairs[28:]]
    tools = [""] * len(chats)
    tools[-6:] = [TOOLS] * 6
    return chats, tools


@contextmanager
def reading(model: Any) -> Iterator[list[dict[str, Any]]]:
    """What a model's decoder is given, each time it reads."""
    given: list[dict[str, Any]] = []

    def note(_decoder: Any, ids: tuple[Any, ...], named: dict[str, Any]) -> None:
        given.append(named | ({"input_ids": ids[0]} if ids else {}))  # some give ids by place

    hook = model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    yield given
    hook.remove()


def alone(model: Any, tokenizer: Any, chats: list[Any], tools: list[str]) -> list[float]:
    """The nats of each last answer by a bare forward pass over its row and nothing else."""
    found = []
    for ids, mask in encode_chats(tokenizer, chats, tools=tools):
        stop = len(mask) - mask[::-1].index(True)
        start = stop - next(n for n in range(stop) if not mask[stop - 1 - n])
        with torch.inference_mode():
            logits = model(torch.tensor([ids]), use_cache=False).logits[0].double()
        picked = [logits[i - 1].log_softmax(-1)[ids[i]].item() for i in range(start, stop)]
        found.append(-sum(picked))
    return found


SIZE: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 1024, "initializer_range": 0.3,
}  # fmt: skip
LENDING: dict[str, tuple[str, dict[str, Any]]] = {
    "learned positions": ("gpt2", {}),
    "rotary positions": ("qwen3", {"head_dim": 16}),
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sliding window": ("mistral", {"sliding_window": 16}),
    "linear attention": ("lfm2", {"layer_types": ["conv", "full_attention"]}),
    "distances by columns": (
        "gpt_neo",
        {"num_layers": 2, "window_size": 16, "attention_types": [[["global", "local"], 1]]},
    ),
}


def build(kind: str, options: dict[str, Any], tokenizer: Any) -> Any:
    """A model of random weights, large ones, so that a wrong position or a lost token shows."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **(SIZE | options))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("name", [*LENDING, *OTHERS])
def test_every_row_has_the_loss_it_has_alone_in_batches_of_any_size(name, tiny_base: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    model = build(*(LENDING | OTHERS)[name], tokenizer)
    chats, tools = mixed_chats()
    expected = alone(model, tokenizer, chats, tools)
    for batch_tokens in (1, 150, 400, 8192):
        with reading(model) as given:
            found = answer_losses(model, tokenizer, chats, tools=tools, batch_tokens=batch_tokens)
        assert [one[0] for one in found if one] == pytest.approx(expected, rel=1e-5)
        assert any(kw.get("past_key_values") for kw in given) == (name in LENDING)


def test_a_short_beginning_is_not_read_at_other_frequencies_than_its_rows(tiny_base: Path) -> None:
    tokenizer, chats = load_tokenizer(tiny_base), mixed_chats()[0][:12]
    shortest = min(len(ids) for ids, _ in encode_chats(tokenizer, chats))
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8}
    rope |= {"original_max_position_embeddings": shortest - 4}
    rope |= {"long_factor": [2.0 + i for i in range(8)]}
    model = build("llama", {"rope_parameters": rope}, tokenizer)
    expected = alone(model, tokenizer, chats, [""] * 12)
    found = answer_losses(model, tokenizer, chats, batch_tokens=400)
    assert [one[0] for one in found if one] == pytest.approx(expected, rel=1e-5)


def test_a_trained_model_reads_rules_once(tiny_base: Path) -> None:
    model, tokenizer = load_causal_lm(tiny_base).to("cpu"), load_tokenizer(tiny_base)
    chats = [[*dialogue("", "", system=RULES_ZH)[:1], *c] for c in copy_rows(60)["messages"]]
    with reading(model) as given:
        found = answer_losses(model, tokenizer, chats)
    expected = alone(model, tokenizer, chats, [""] * len(chats))
    assert [one[0] for one in found if one] == pytest.approx(expected, rel=1e-5)
    whole = [ids for ids, _ in encode_chats(tokenizer, chats)]
    (rules,) = tokenizer([RULES_ZH], add_special_tokens=False)["input_ids"]
    assert len(rules) > 60
    times = sum(str(rules)[1:-1] in str(ids) for kw in given for ids in kw["input_ids"].tolist())
    assert times == 1 and sum(kw["input_ids"].numel() for kw in given) < sum(map(len, whole)) / 3


def test_rows_with_little_in_common_are_read_as_without_it(tiny_base: Path) -> None:
    model, tokenizer = load_causal_lm(tiny_base).to("cpu"), load_tokenizer(tiny_base)
    chats = copy_rows(20)["messages"].to_list()
    with reading(model) as given:
        answer_losses(model, tokenizer, chats)
    sizes = [kw["input_ids"].shape for kw in given]
    lengths = [len(ids) for ids, _ in encode_chats(tokenizer, chats)]
    assert sizes == [
        (1, 1),
        (20, max(lengths) - 2),
    ]  # the last token and its line break say nothing
    assert not any(kw.get("past_key_values") for kw in given)


def test_what_is_lent_counts_in_the_budget(tiny_base: Path) -> None:
    model, tokenizer = load_causal_lm(tiny_base).to("cpu"), load_tokenizer(tiny_base)
    chats = [dialogue("重复：天", "天", system=RULES_EN * 4)] * 90
    with reading(model) as given:
        answer_losses(model, tokenizer, chats, batch_tokens=1_000)
    together = [kw for kw in given if kw.get("past_key_values")]
    lent = together[0]["past_key_values"].get_seq_length()
    assert lent > 300 and len(together) > 5
    for kw in together:
        rows, width = kw["input_ids"].shape
        assert rows * (width + lent // 4) <= 1_000


def test_a_stretch_of_no_tokens_has_no_loss(tiny_base: Path) -> None:
    model, tokenizer = load_causal_lm(tiny_base), load_tokenizer(tiny_base)
    found = span_losses(model, tokenizer, [[5, 6, 7], [], [5, 6, 7]], [(1, 3), (0, 0), (2, 2)])
    assert found[0] and found[0][1] == 2 and found[1:] == [None, None]
    assert span_losses(model, tokenizer, [], []) == []
