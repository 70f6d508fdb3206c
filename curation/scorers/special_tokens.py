"""Special tokens: whether a text holds a marker of some chat template.

A tokeniser turns the letters `<|im_end|>` inside a text into the real token, which ends the turn
there. The markers of every common template count, not only those of today's base model.
"""

import re

import polars as pl

from curation.plugins import plugin
from curation.scorers._base import ScoreContext, Scorer, full_text, score_each

_MARKER = re.compile(
    r"<\|[^\s<>|]{1,40}\|>"  # <|im_start|>, <|eot_id|>, <|endoftext|>
    "|<｜[^\\s<>｜]{1,60}｜>"  # the full-width form: <｜end▁of▁sentence｜>
    r"|\[/?INST\]|\[/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|<</?SYS>>"
    r"|</?(?:s|bos|eos|pad|unk|sep|cls|mask|start_of_turn|end_of_turn|start_of_image)>"
    r"|<(?:extra_id_[0-9]+|0x[0-9A-F]{2}|reserved_[0-9]+|user_[0-9]+|assistant_[0-9]+)>",
    re.IGNORECASE,
)


@plugin()
def special_tokens() -> Scorer:
    """True where a row holds such a marker; write the rule as `not special_tokens`."""

    def score(rows: pl.DataFrame, _context: ScoreContext) -> pl.Series:
        return score_each(full_text(rows), lambda t: bool(find_markers(t)), dtype=pl.Boolean)

    return score


def find_markers(text: str) -> list[str]:
    """The template markers in a text, in their order."""
    return _MARKER.findall(text)
