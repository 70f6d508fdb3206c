"""Plain texts in a recipe: which sources bring them, and what must then stand beside them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from assets.plug import Plug
from curation.rows import TEXT_TRACK
from training.pretrain import require_shares

if TYPE_CHECKING:
    from assets.recipe import Recipe

NOT_OF_TEXT = ("split", "form", "columns", "template", "category")
"""What is common to sources and says nothing of a plain text."""


def text_sources(sources: Mapping[str, Plug]) -> list[str]:
    """Names of the sources of plain text, which only the base model reads."""
    return [name for name, plug in sources.items() if plug.common.get("track") == TEXT_TRACK]


def row_sources(sources: Mapping[str, Plug]) -> list[str]:
    """Names of the sources of rows."""
    texts = text_sources(sources)
    return [name for name in sources if name not in texts]


def check_texts(recipe: "Recipe") -> list[str]:
    """One line for each mistake in what a recipe says of plain texts."""
    texts = text_sources(recipe.sources)
    errors = [
        f"sources.{name}: a plain text is no row; give it 'track: text'"
        for name, plug in recipe.sources.items()
        if plug.use == "text" and name not in texts
    ]
    errors += [
        f"sources.{name}.{key}: of a plain text there is none; leave it out"
        for name in texts
        for key in NOT_OF_TEXT
        if key in recipe.sources[name].common
    ]
    reads = [key for key in ("pretrain", "texts") if key in recipe.raw]
    if texts and "pretrain" not in reads:
        errors.append(f"sources.{texts[0]}: nothing reads plain texts; add 'pretrain: {{}}'")
    if not texts:
        errors += [f"{key}: no source brings texts; add one of 'track: text'" for key in reads]
    if recipe.sources and not row_sources(recipe.sources):
        errors.append("sources: at least one source of rows is needed beside plain texts")
    return errors + _check_shares(recipe)


def _check_shares(recipe: "Recipe") -> list[str]:
    said = recipe.options["pretrain"]
    shares = {name: said[name] for name in ("replay", "validate") if name in said}
    try:
        require_shares(**{k: v for k, v in shares.items() if isinstance(v, int | float)})
    except ValueError as error:
        return [str(error)]
    return []
