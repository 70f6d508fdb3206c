"""Plain texts on their way to the base model: which of them it reads, and why not the others.

The base model stands before every scorer, so texts are judged by rules alone: they may not be too
short, hold personal data, give an exam row away or repeat another text.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

import polars as pl

from curation.dedup import find_duplicates
from curation.fates import make_fates
from curation.personal import find_personal
from curation.progress import Report, silent
from curation.rows import ANSWER, MESSAGE, UTTERANCE
from curation.similarity import is_han, is_short
from curation.text import text_keys

LEAK_SCHEMA = pl.Schema({"id": pl.String, "of": pl.String, "similarity": pl.Float64})
"""A text, the exam row it gives away, and the share of that row's prompt or answer it holds."""
CONTENT = pl.col("messages").list.first().struct.field("content")
"""What a row of the track `text` says."""

HAN_GRAM, LATIN_GRAM = 8, 20
"""Characters of a stretch that nothing holds by chance; thirteen words are usual (Brown et al.
2020, appendix C), which is more than most prompts have."""
SHARE = 0.5
"""Share of a prompt's or answer's stretches that gives it away: a word may have been changed."""
NEAR = 64
"""Characters between a short prompt and its answer within which they are one example."""


def judge_texts(
    texts: pl.DataFrame,
    exam: pl.DataFrame,
    *,
    min_chars: int = 20,
    pii: Literal["drop", "keep"] = "drop",
    threshold: float = 0.8,
    priority: Sequence[str] = (),
    report: Report = silent,
) -> pl.DataFrame:
    """The fate of each text (`FATE_SCHEMA`, sorted by id); the base model reads the kept ones.

    `texts` are rows of the track `text`, `exam` the rows that nothing may give away. In this order
    go texts of fewer than `min_chars` characters (`too_short`), those with personal data (`pii`,
    unless it is to `keep`), those that give the exam away (`leak`, see `find_text_leaks`), and what
    repeats another as `find_duplicates` says of prompts; of repeats the one stays whose source
    stands first in `priority`.
    """
    length = texts["n_chars"].cast(pl.Float64)
    is_too_short = length < min_chars
    short = make_fates(
        texts.filter(is_too_short),
        "dropped",
        reason="too_short",
        value=pl.col("n_chars"),
        threshold=float(min_chars),
    )
    left = texts.filter(~is_too_short)
    holds = [pii == "drop" and bool(find_personal(said)) for said in left.select(t=CONTENT)["t"]]
    is_personal = pl.Series(holds, dtype=pl.Boolean)
    personal = make_fates(left.filter(is_personal), "dropped", reason="pii")
    left = left.filter(~is_personal)
    leaks = left.join(find_text_leaks(left, exam), on="id")
    leaked = make_fates(
        leaks,
        "dropped",
        reason="leak",
        into=pl.col("of"),
        value=pl.col("similarity"),
        threshold=SHARE,
    )
    left = left.join(leaks, on="id", how="anti")
    repeats = find_duplicates(
        _as_prompts(left), threshold=threshold, priority=priority, report=report
    )
    return pl.concat([short, personal, leaked, repeats.fates]).sort("id")


def find_text_leaks(texts: pl.DataFrame, exam: pl.DataFrame) -> pl.DataFrame:
    """Texts that give exam rows away: `LEAK_SCHEMA`, sorted by id, of each text the worst.

    A prompt or answer of 20 Han or 40 Latin characters and more is given away where half of its
    stretches of 8 or 20 characters stand in the text. A shorter one says little by itself, such as
    打开空调 in a manual: that counts where its answer follows within 64 characters. Typography does
    not count (`text_key`).
    """
    asked = exam.select("id", p=text_keys(exam.select(t=UTTERANCE)["t"]), a=_keys(exam, ANSWER))
    keys = dict(zip(texts["id"], _keys(texts, CONTENT), strict=True))
    found = [*_long_leaks(keys, asked), *_short_leaks(keys, asked)]
    leaks = pl.DataFrame(found, schema=LEAK_SCHEMA, orient="row")
    worst = leaks.sort("id", "similarity", "of", descending=[False, True, False])
    return worst.unique("id", keep="first", maintain_order=True)


def _keys(rows: pl.DataFrame, said: pl.Expr) -> pl.Series:
    return text_keys(rows.select(t=said)["t"].fill_null(""))


Leak = tuple[str, str, float]


def _long_leaks(keys: dict[str, str], asked: pl.DataFrame) -> Iterable[Leak]:
    """Texts that hold much of a long prompt or answer, whatever stands around it."""
    sides = {(row, side) for row, *both in asked.iter_rows() for side in both}
    parts = {one: _parts(one[1]) for one in sides if not is_short(one[1])}
    index: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for one, some in parts.items():
        for part in some:
            index[part].append(one)
    for id, key in keys.items() if index else ():
        found = {*_known_parts(key, HAN_GRAM, index), *_known_parts(key, LATIN_GRAM, index)}
        held = Counter(one for part in found for one in index[part])
        for one, n in held.items():
            if n >= SHARE * len(parts[one]):
                yield id, one[0], n / len(parts[one])


def _parts(key: str) -> set[str]:
    """The stretches of a long prompt or answer."""
    size = HAN_GRAM if is_han(key) else LATIN_GRAM
    return {key[i : i + size] for i in range(len(key) - size + 1)}


def _known_parts(key: str, size: int, known: Iterable[str]) -> set[str]:
    return {part for i in range(len(key) - size + 1) if (part := key[i : i + size]) in known}


def _short_leaks(keys: dict[str, str], asked: pl.DataFrame) -> Iterable[Leak]:
    """Texts that hold a short prompt with its short answer soon after."""
    answers: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row, prompt, answer in asked.iter_rows():
        if prompt and answer and is_short(prompt) and is_short(answer):
            answers[prompt].append((row, answer))
    if not answers:
        return
    held = pl.Series([*keys.values()], dtype=pl.String).to_frame("key")
    held = held.select(pl.col("key").str.extract_many([*answers], overlapping=True))["key"]
    for (id, key), prompts in zip(keys.items(), held, strict=True):
        for prompt in sorted(set(prompts)):
            for row, answer in answers[prompt]:
                apart = f"{re.escape(prompt)}.{{0,{NEAR}}}?{re.escape(answer)}"
                if re.search(apart, key, re.DOTALL):
                    yield id, row, 1.0


def _as_prompts(texts: pl.DataFrame) -> pl.DataFrame:
    """The texts as prompts without an answer, which is how conversations are compared."""
    empty = {"role": "assistant", "content": "", "tool_calls": ""}
    said = [
        [{"role": "user", "content": text, "tool_calls": ""}, empty]
        for text in texts.select(t=CONTENT)["t"]
    ]
    return texts.with_columns(messages=pl.Series(said, dtype=pl.List(MESSAGE)))
