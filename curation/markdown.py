"""Markdown for the UI and the model card: text of rows goes in as text, whatever it spells.

Reports show rows that nobody has vouched for. Each character that could begin markup, HTML, a link
or the next cell is written as a numbered entity, which every renderer shows as the character itself
and none takes for syntax.
"""

import re
from collections.abc import Iterable, Sequence

_MARKUP = re.compile(
    r"[\\`*_\[\](){}<>&|~#$!\"'@:]|^[-+=.]|(?<=www)\.|[\x00-\x1f\x7f\u202a-\u202e]"
)


def plain(text: object, *, longest: int | None = None) -> str:
    """The text as Markdown that shows just it, on one line and cut after `longest` characters."""
    said = str(text).replace("\r\n", "\n").replace("\n", "⏎")
    if longest is not None and len(said) > longest:
        said = said[:longest] + "…"
    return _MARKUP.sub(lambda match: _entity(match.group()), said)


def table(head: Sequence[str], lines: Iterable[Sequence[object]], *, numbers: int = 0) -> str:
    """A Markdown table; the last `numbers` columns stand to the right."""
    rule = ["---"] * (len(head) - numbers) + ["--:"] * numbers
    rows = [[plain(name) for name in head], rule, *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)


def _entity(character: str) -> str:
    """A control character, such as a bidi override, is shown by its number and not obeyed."""
    shown = character.isprintable()
    return f"&#{ord(character)};" if shown else f"U+{ord(character):04X}"
