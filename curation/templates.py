"""Templates: what many prompts share says nothing about one of them, and hides how they differ.

Behind sixty characters of instruction two different sentences are near-duplicates, and a set with
the same few answers would lose most of its rows. So texts are compared by what they hold in the
places of a template; rows of different templates are not compared.
"""

import re
from collections.abc import Iterable

import polars as pl

from curation.text import text_key

_PLACE = re.compile(r"\{\w*\}")


def fixed_parts(templates: Iterable[str]) -> list[tuple[str, str]]:
    """Text keys of what each template has before its first place and after its last one.

    A place is a name in braces, or nothing in them; without any the template is a beginning. Those
    that have no text of their own are left out; the longest come first.
    """
    found = set[tuple[str, str]]()
    for template in templates:
        first, *rest = _PLACE.split(template)
        found.add((text_key(first), text_key(rest[-1]) if rest else ""))
    found.discard(("", ""))
    return sorted(found, key=lambda parts: (-len(parts[0] + parts[1]), parts))


def cut_templates(prompts: pl.Series, templates: Iterable[str]) -> pl.DataFrame:
    """The prompts (text keys) in two columns: `template`, the fixed parts, and `rest`.

    The longest template that fits counts, and only where it leaves something; else `template` is
    "" and `rest` all of the prompt.
    """
    prompt = pl.col("prompt")
    template, rest = pl.lit(""), prompt
    for before, after in reversed(fixed_parts(templates)):
        size = len(before) + len(after)
        fits = prompt.str.starts_with(before) & prompt.str.ends_with(after)
        fits &= prompt.str.len_chars() > size
        inner = prompt.str.slice(len(before), prompt.str.len_chars() - size)
        template = pl.when(fits).then(pl.lit(f"{before}\x1f{after}")).otherwise(template)
        rest = pl.when(fits).then(inner).otherwise(rest)
    return prompts.to_frame("prompt").select(template=template, rest=rest)
