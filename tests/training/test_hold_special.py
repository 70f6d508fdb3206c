"""Whether text holds a control token is asked of the tokenizer, and only where it may."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from curation.chat import hold_special, load_tokenizer

PIECES = [
    *("<|im_end|>", "<|im_", "end|>", "＜｜im_end｜＞", "＜｜IM_end｜＞", "<|Im_ End|>"),
    *("<s>", "< s >", "＜S＞", "▁<s>", "</s>", "[sep]", "[SEP]", "ś", "e\u0301"),
    *("开", "打开空调", "a", " ", "\n", "\u3000"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)


def asked(tokenizer: Any, texts: list[str]) -> list[bool]:
    """What the tokenizer says of every text."""
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    special = (special | {*tokenizer.all_special_ids}) - {tokenizer.unk_token_id}
    encoded = tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    return [not special.isdisjoint(e.ids) for e in encoded]


@pytest.fixture(scope="module")
def tokenizers(tiny_base: Path, tmp_path_factory: Any) -> list[Any]:
    """Byte pairs of a chat model, the same folding width, pieces of words, and unigrams."""
    folding = Path(shutil.copytree(tiny_base, tmp_path_factory.mktemp("folding") / "model"))
    path = folding / "tokenizer.json"
    core = json.loads(path.read_text(encoding="utf-8"))
    core["normalizer"] = {"type": "NFKC"}
    for token in core["added_tokens"]:
        token["normalized"] = True
    path.write_text(json.dumps(core, ensure_ascii=False), encoding="utf-8")
    words = Tokenizer(models.WordPiece({"[UNK]": 0, "[SEP]": 1, "a": 2, "s": 3}, unk_token="[UNK]"))
    words.normalizer = normalizers.BertNormalizer(lowercase=True)  # type: ignore[assignment]
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    words.decoder = decoders.WordPiece()  # type: ignore[assignment]
    pieces = [("<unk>", 0.0), ("<s>", -1.0), ("▁<s>", -1.0), ("a", -2.0), ("▁", -2.0), ("开", -3.0)]
    unigram = Tokenizer(models.Unigram(pieces, 0, False))
    unigram.normalizer = normalizers.NFKC()  # type: ignore[assignment]
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()  # type: ignore[assignment]
    unigram.decoder = decoders.Metaspace()  # type: ignore[assignment]
    return [
        load_tokenizer(tiny_base),
        load_tokenizer(folding),
        PreTrainedTokenizerFast(tokenizer_object=words, sep_token="[SEP]", unk_token="[UNK]"),
        PreTrainedTokenizerFast(tokenizer_object=unigram, bos_token="▁<s>", unk_token="<unk>"),
    ]


@settings(max_examples=25)
@given(st.lists(TEXTS, max_size=30))
def test_what_is_passed_over_holds_none(tokenizers, texts):
    for tokenizer in tokenizers:
        chats = [[{"role": "user", "content": text}] for text in texts]
        assert hold_special(tokenizer, chats) == asked(tokenizer, texts)


def test_each_of_these_tokenizers_finds_some(tokenizers):
    found = [sum(asked(tokenizer, PIECES)) for tokenizer in tokenizers]
    assert all(found) and found[1] > found[0]
