"""Ensemble: the scorers weighed by human verdicts into one score, the probability of acceptance.

Each score is first placed among those of the judged rows, so that only its order counts: a
perplexity of a million is no more than the highest, and any scale that a scorer chooses is as good
as its logarithm. A logistic regression then weighs the places.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import polars as pl

from curation.auroc import measure_auroc
from curation.logistic import fit_logistic
from curation.scorers._base import fold_of
from curation.scoring import FACT_SCHEMA

ENSEMBLE = "ensemble"
"""The name of its score, beside those of the scorers."""
LEAST_OF_EITHER = 20
"""Fewer accepted or fewer rejected rows say too little of what sets them apart."""
PENALTY = 1.0
"""Of the squared weights: that of a prior with variance 1, and the customary one."""
FOLDS = 5
UNFITTED = "unfitted"
"""Status of a fact for which there are too few verdicts."""

INTERCEPT, MISSING = "(intercept)", " (missing)"
WEIGHT_SCHEMA = pl.Schema(
    {"column": pl.String, "mean": pl.Float64, "scale": pl.Float64, "weight": pl.Float64}
)
RANK_SCHEMA = pl.Schema({"scorer": pl.String, "value": pl.Float64})
AUROC_SCHEMA = pl.Schema(
    {
        "scorer": pl.String,
        **dict.fromkeys(("auroc", "low", "high"), pl.Float64),
        "n": pl.Int64,
    }
)


@dataclass(frozen=True)
class Ensemble:
    """A fitted ensemble; one that is not has empty tables.

    `weights` (`WEIGHT_SCHEMA`) has a line for each column of the regression: the intercept, each
    scorer, and `<scorer> (missing)` where some judged rows have no such score. `ranks`
    (`RANK_SCHEMA`) holds the scores of the judged rows, among which others are placed. `aurocs`
    (`AUROC_SCHEMA`) is of each scorer, and of the ensemble on rows it was not fitted on.
    """

    weights: pl.DataFrame
    ranks: pl.DataFrame
    aurocs: pl.DataFrame

    @property
    def fitted(self) -> bool:
        return not self.weights.is_empty()

    def predict(self, scores: pl.DataFrame) -> pl.Series:
        """The probability of acceptance, 0..1, by the score columns of each row.

        A row's own scores decide it to the last bit, whatever rows stand beside it. Null everywhere
        while nothing is fitted.
        """
        import numpy as np

        if not self.fitted:
            return pl.Series(ENSEMBLE, [None] * scores.height, dtype=pl.Float64)
        logit = np.zeros(scores.height)
        weights = self.weights["weight"]
        for column, weight in zip(_columns(scores, self.weights, self.ranks), weights, strict=True):
            logit += column * weight
        return pl.Series(ENSEMBLE, np.exp(-np.logaddexp(0, -logit)))


def enough_verdicts(accepted: pl.Series, needed: int) -> bool:
    """Whether there are so many verdicts, and 20 of either kind."""
    either = min(int(accepted.sum()), int((~accepted).sum()))
    return len(accepted) >= needed and either >= LEAST_OF_EITHER


def fit_ensemble(
    scores: pl.DataFrame, verdicts: pl.DataFrame, *, min_verdicts: int = 200
) -> Ensemble:
    """Weigh scorers by the verdicts; nothing is fitted where `enough_verdicts` says no.

    `scores` has `id` and a column for each scorer, Float64 or Boolean, null where there is none;
    `verdicts` has `id` and `accept`. Rows with both count. A missing score is the mean, and a 1 in
    a column of its own. The AUROC of the ensemble is cross-fitted: a row is judged by the model of
    the four fifths that it does not belong to. Raises `ValueError` where the fit does not converge.
    """
    judged = scores.join(verdicts, on="id", how="semi").sort("id")
    accepted = judged.select("id").join(verdicts, on="id", maintain_order="left")["accept"]
    if not enough_verdicts(accepted, min_verdicts):
        schemas = (WEIGHT_SCHEMA, RANK_SCHEMA, AUROC_SCHEMA)
        return Ensemble(*(schema.to_frame() for schema in schemas))
    measured = {name: measure_auroc(judged[name], accepted) for name in _scorers(judged)}
    measured[ENSEMBLE] = measure_auroc(_cross_fit(judged, accepted), accepted)
    aurocs = [(name, *line) for name, line in sorted(measured.items())]
    weights, ranks = _fit(judged, accepted)
    return Ensemble(weights, ranks, pl.DataFrame(aurocs, schema=AUROC_SCHEMA, orient="row"))


def score_ensemble(scores: pl.DataFrame, ensemble: Ensemble) -> pl.DataFrame:
    """Facts of `FACT_SCHEMA`, sorted by id: the probability of acceptance of each row."""
    status = "ok" if ensemble.fitted else UNFITTED
    facts = scores.select(
        "id", value=ensemble.predict(scores), status=pl.lit(status), kind=pl.lit("number")
    )
    return facts.cast(dict(FACT_SCHEMA)).sort("id")  # type: ignore[arg-type]


def _scorers(scores: pl.DataFrame) -> list[str]:
    return sorted({*scores.columns} - {"id"})


def _cross_fit(judged: pl.DataFrame, accepted: pl.Series) -> pl.Series:
    """What models that did not see them say of the judged rows."""
    folds = pl.Series([fold_of(row_id, FOLDS) for row_id in judged["id"]])
    said = []
    for fold in range(FOLDS):
        held = folds == fold
        weights, ranks = _fit(judged.filter(~held), accepted.filter(~held))
        asked = judged.filter(held)
        chances = Ensemble(weights, ranks, AUROC_SCHEMA.to_frame()).predict(asked)
        said.append(asked.select("id", value=chances))
    return pl.concat(said).sort("id")["value"]


def _fit(judged: pl.DataFrame, accepted: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The weights and ranks of an `Ensemble`."""
    import numpy as np

    names = _scorers(judged)
    ranks = pl.concat(
        judged.select(scorer=pl.lit(name), value=_numbers(judged, name)) for name in names
    )
    ranks = ranks.drop_nulls().sort("scorer", "value")
    some = {*ranks["scorer"]}
    gaps = [name + MISSING for name in names if name in some and _numbers(judged, name).has_nulls()]
    moments = {name: _moments(_column(judged, name, ranks)) for name in names}
    columns = [INTERCEPT, *sorted([*names, *gaps])]
    said = [(name, *moments.get(name, (0.0, 1.0)), 0.0) for name in columns]
    weights = pl.DataFrame(said, schema=WEIGHT_SCHEMA, orient="row")
    matrix = np.column_stack([*_columns(judged, weights, ranks)])
    penalty = np.array([0.0 if name == INTERCEPT else PENALTY for name in columns])
    found = fit_logistic(matrix, accepted.cast(pl.Float64).to_numpy(), penalty)
    return weights.with_columns(weight=pl.Series(found)), ranks


def _columns(scores: pl.DataFrame, weights: pl.DataFrame, ranks: pl.DataFrame) -> Iterator[Any]:
    """The columns of the regression, in the order of its weights; a missing score is the mean."""
    import numpy as np

    for name, mean, scale, _ in weights.iter_rows():
        yield np.nan_to_num((_column(scores, name, ranks) - mean) / scale)


def _column(scores: pl.DataFrame, name: str, ranks: pl.DataFrame) -> Any:
    """One column before it is standardised, NaN where there is no score."""
    import numpy as np

    if name == INTERCEPT:
        return np.ones(scores.height)
    if name.endswith(MISSING):
        missing = _numbers(scores, name.removesuffix(MISSING)).is_null()
        return missing.cast(pl.Float64).to_numpy()
    return _normal_scores(_numbers(scores, name), ranks.filter(pl.col("scorer") == name)["value"])


def _normal_scores(values: pl.Series, known: pl.Series) -> Any:
    """Where each value stands among n known ones, sorted, as a place of the normal distribution.

    Φ⁻¹(r / (n + 1)) with r the mean rank of equal ones (van der Waerden's scores): mean 0, scale
    about 1, and as far out as n rows can tell.
    """
    import numpy as np

    among, n = known.to_numpy(), len(known)
    asked = values.to_numpy()
    places = sum(among.searchsorted(asked, side=side) for side in ("left", "right"))
    normal = NormalDist()
    table = np.array([normal.inv_cdf((i + 1) / (2 * n + 2)) for i in range(2 * n + 1)])
    return np.where(np.isnan(asked), np.nan, table[places])


def _moments(column: Any) -> tuple[float, float]:
    """Mean and standard deviation of what is there; 1 for that of what is always the same."""
    import numpy as np

    there = column[~np.isnan(column)]
    return (float(there.mean()), float(there.std()) or 1.0) if len(there) else (0.0, 1.0)


def _numbers(scores: pl.DataFrame, name: str) -> pl.Series:
    return scores[name].cast(pl.Float64).fill_nan(None)
