"""Scorer `guard_model`: how likely a guard model finds harm in each row.

A guard model is a sequence classifier whose labels name kinds of harm, or harm and its absence. It
reads what people and the model said as plain text, without a chat template.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curation.chat import load_text_tokenizer
from curation.models import are_independent, label_chances, load_guard_model
from curation.plugins import nearest, plugin
from curation.scorers._base import CannotScore, ScoreContext, Scorer, spoken_text

_HARMLESS = (
    *("safe", "ok", "okay", "neutral", "normal", "clean", "benign", "harmless", "acceptable"),
    *("none", "sfw", "nontoxic", "nottoxic", "nonhate", "nothate", "nohate", "nonharmful"),
    *("notharmful", "nonoffensive", "notoffensive"),
)
"""Names of labels that say there is no harm, in lower case and letters alone."""


@plugin()
def guard_model(
    *, model: str, revision: str = "", labels: list[str] | None = None, batch_tokens: int = 8192
) -> Scorer:
    """Probability of harm (Float64, 0..1); null where the model finds no token in a row.

    `model` is a hub id or a local folder. `labels` are the harmful ones of its config; without
    them all are but those that are called safe, neutral, normal and the like. Of labels that
    exclude one another the probabilities are added up, of independent ones the highest counts; so
    it does of the pieces of a row that is longer than the model can read.
    """
    if labels is not None and not labels:
        raise ValueError("guard_model: `labels` is empty; name the harmful ones or leave it out")

    def score(rows: pl.DataFrame, context: ScoreContext) -> pl.Series:
        source = Path(model) if Path(model).is_dir() else model
        try:
            loaded = load_guard_model(source, revision=revision)
            harmful = harmful_places(loaded, labels, name=model)
        except ValueError as error:
            raise CannotScore(str(error)) from None
        chances = label_chances(
            loaded,
            load_text_tokenizer(source, revision=revision),
            spoken_text(rows).to_list(),
            batch_tokens=batch_tokens,
            report=context.report,
        )
        join = max if are_independent(loaded) else sum
        values = [
            max((min(1.0, join(piece[i] for i in harmful)) for piece in pieces), default=None)
            for pieces in chances
        ]
        return pl.Series("guard_model", values, dtype=pl.Float64)

    return score


def harmful_places(model: Any, labels: Sequence[str] | None, *, name: str) -> list[int]:
    """Which of the model's outputs are harmful: those of `labels`, else those not called harmless.

    Raises `ValueError` for a label that the model has not, with the nearest, and where its names
    do not tell which labels are harmful.
    """
    known = [str(model.config.id2label[i]) for i in range(model.config.num_labels)]
    for label in labels or ():
        if label not in known:
            raise ValueError(f"labels: {name!r} has no label {label!r}{nearest(label, known)}")
    named = labels or [label for label in known if not _is_harmless(label)]
    harmful = [place for place, label in enumerate(known) if label in named]
    numbered = not labels and any(re.fullmatch(r"LABEL_\d+", label) for label in known)
    every = len(harmful) == len(known) and not are_independent(model)
    if numbered or every or not harmful:
        raise ValueError(
            f"{name!r} has the labels {', '.join(known)}; name those that are harmful, and not "
            "those that are harmless, in the option `labels`"
        )
    return harmful


def _is_harmless(label: str) -> bool:
    return re.sub("[^a-z]", "", label.lower()) in _HARMLESS
