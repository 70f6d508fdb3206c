"""Source `grammar`: as many distinct labelled rows as are asked for, drawn from a YAML grammar.

Text and answer are drawn together, so every row is labelled by construction; the format of the file
stands at the head of curation/sources/_grammar.py.
"""

import hashlib
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from curation.plugins import nearest, plugin
from curation.rows import dialogue
from curation.sources._base import Record
from curation.sources._grammar import draw_pair, load_grammar

_PATIENCE = 200  # draws in a row that bring nothing new before the grammar counts as used up


@plugin()
def grammar(
    *,
    path: Path,
    rows: int,
    seed: int = 0,
    patterns: list[str] | None = None,
    fold: int = 0,
    folds: int = 1,
) -> Callable[[], Iterator[Record]]:
    """Yields `rows` records `{"messages", "category"}` with distinct prompts; category = pattern.

    Draw number i depends on (seed, i) alone, so asking for more rows keeps the earlier ones. With
    `folds` > 1 only prompts whose digest falls into `fold` come out: two sources with different
    folds never share a prompt. Raises `ValueError` for a mistake in the file, and while reading
    when the grammar has fewer distinct prompts than asked for.
    """
    if not 0 <= fold < folds:
        raise ValueError(f"fold must lie in 0..{folds - 1}, got {fold!r}")
    loaded = load_grammar(path)
    for name in patterns or ():
        if name not in loaded.patterns:
            raise ValueError(f"{path.name}: no pattern {name!r}{nearest(name, loaded.patterns)}")

    def read() -> Iterator[Record]:
        seen: set[str] = set()
        number = last = 0
        while len(seen) < rows:
            prompt, answer, name = draw_pair(loaded, f"{seed}:{number}", patterns=patterns or ())
            key = prompt_key(prompt)
            if key not in seen and _fold_of(key, folds) == fold:
                seen.add(key)
                last = number
                turns = dialogue(prompt, answer, system=loaded.system)
                yield Record(f"{path.name}#{number}", {"messages": turns, "category": name})
            number += 1
            if number - last > _PATIENCE * folds:
                raise ValueError(
                    f"{path.name} gave {len(seen)} distinct prompts; rows asks for {rows}"
                )

    return read


def prompt_key(prompt: str) -> str:
    """The prompt without width, case and spaces: prompts with one key count as the same."""
    return "".join(unicodedata.normalize("NFKC", prompt).casefold().split())


def _fold_of(key: str, folds: int) -> int:
    return int.from_bytes(hashlib.sha256(f"fold:{key}".encode()).digest()[:8], "big") % folds
