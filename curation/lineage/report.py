"""The report of a model version: one HTML file for people, English and Chinese, light and dark.

It holds no script and asks no network, so it can be mailed, printed and kept. Everything in it is
text that is escaped, since rows and bad cases come from anywhere; only the curves are markup.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from jinja2 import Environment, StrictUndefined, Template

from curation.lineage.states import STATES, say_state
from curation.registry import find_version, say_verdict
from curation.store import Store, Version

TEMPLATE = Path(__file__).with_name("report.html")
LONGEST = 2_000  # characters of a trained row that are shown
_UNKNOWN: dict[str, Any] = {
    **dict.fromkeys(("method_used", "n_rows", "n_tokens", "n_loss_tokens", "n_held", "best")),
    **{"diagnosis": (), "reasons": (), "left": {}},
}
"""What an adapter says of its run, where it does not say it."""
_TRAINED = re.compile(r"⟦(.*?)⟧", re.DOTALL)
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def write_report(store: Store, recipe: str, name: str, *, curves: Mapping[str, str]) -> str:
    """`lineage report`: the report of a registered version, as its folder holds it (HTML).

    `curves` are its training curves as SVG by language, "en" and "zh".
    """
    entry = find_version(store, recipe, name)
    said = yaml.safe_load(entry.manifest["how"]["recipe_text"])
    return model_report(
        recipe,
        entry.values,
        adapter=entry.input("adapter"),
        evaluation=entry.input("evaluation"),
        states=entry.table("bad_cases"),
        base_model=str(said["train"]["base_model"]),
        curves=curves,
    )


def model_report(
    recipe: str,
    values: Mapping[str, Any],
    *,
    adapter: Version,
    evaluation: Version,
    states: pl.DataFrame,
    base_model: str,
    curves: Mapping[str, str],
) -> str:
    """The report as HTML from what a version says of itself (`values`) and what it was made from.

    `states` has state, version and half of every bad case.
    """
    verdict = values["verdict"]
    return _template().render(
        recipe=recipe,
        label=f"v{values['number']}",
        id=values["id"],
        base_model=base_model,
        verdict=verdict,
        said=say_verdict(values),
        metrics=values["metrics"],
        names=list(values["metrics"]["candidate"]),
        main=evaluation.values.get("main", ""),
        paired=evaluation.values.get("paired"),
        slices=evaluation.values.get("slices") or (),
        trained=_UNKNOWN | adapter.values,
        lineage=values["lineage"],
        fates=[*_fates(values["lineage"]["fates"])],
        shown=[[*_stretches(row)] for row in adapter.values.get("shown", ())],
        states=[*_states(states)],
        made_from={"adapter": adapter.data_version, **_inputs(adapter)},
        curves={lang: svg for lang, svg in curves.items() if svg},
    )


@cache
def _template() -> Template:
    around = Environment(
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return around.from_string(TEMPLATE.read_text(encoding="utf-8"))


def _visible(said: Any) -> Any:
    """Text in which a control character, such as a bidi override, is shown and not obeyed."""
    if type(said) is not str:  # numbers, and what the template itself made
        return said
    return _UNSEEN.sub(lambda match: f"U+{ord(match.group()):04X}", said)


def _stretches(row: str) -> Iterator[tuple[str, bool]]:
    """A shown row in pieces, each with whether it is trained on."""
    cut = row[:LONGEST] + ("…" if len(row) > LONGEST else "")
    for n, piece in enumerate(_TRAINED.split(cut)):
        if piece:
            yield piece, n % 2 == 1


def _fates(fates: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[str, str, int]]:
    for step, counts in fates.items():
        for fate, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            yield step, fate, n


def _states(states: pl.DataFrame) -> Iterator[tuple[str, int, int]]:
    """Each state in words, with its cases to learn from and those held back."""
    order = pl.col("state").replace_strict(STATES, range(len(STATES)))
    counts = states.group_by("state", "version").agg(
        learn=(pl.col("half") == "learn").sum(), hold=(pl.col("half") == "hold").sum()
    )
    for one in counts.sort(order, "version").iter_rows(named=True):
        yield say_state(one["state"], one["version"]), one["learn"], one["hold"]


def _inputs(adapter: Version) -> dict[str, str]:
    return {n: adapter.input(n).data_version for n in ("training_set", "base_model")}
