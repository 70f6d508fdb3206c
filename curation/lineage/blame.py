"""Blame: the training rows most like a case a model got wrong, contradicting ones first.

Nearness is the Jaccard index of the prompts' character n-grams, as everywhere else. Two answers
say the same kind of thing when they have the same structure: the same keys in the same places, and
the same values where the task allows only a closed set of them.
"""

import json
from collections.abc import Iterable
from typing import Any

import polars as pl

from curation.lineage.finding import one_case
from curation.lineage.rows import explain_rows
from curation.lineage.views import View, model_view
from curation.rows import ANSWER, ROW_SCHEMA, UTTERANCE
from curation.similarity import gram_size, grams, jaccard
from curation.store import Store
from curation.tasks._base import Task
from curation.text import text_key

LOOKED_AT, MOST_GRAMS = 300, 40
NEAR, RELATED = 0.8, 0.4
"""From where two prompts ask the same, and from where a row may have taught the wrong answer."""


def blame_case(
    store: Store, recipe: str, wanted: str, *, task: Task, name: str = "latest", limit: int = 10
) -> dict[str, Any] | None:
    """`lineage blame`: why a version may have got a case wrong; None when it was not asked it.

    `wanted` is the id of a test, held-out or bad case, or its prompt. `neighbours` are trained
    rows with `similarity` (0..1), `says` (gold, predicted or other: whose structure the answer
    has), `conflict` (another answer than gold's, to a near prompt, or of the wrong answer's kind to
    a related one), and their way into the model.
    """
    view = model_view(store, recipe, name)
    case = _find_case(view, wanted)
    if case is None:
        return None
    near = _nearest(view, case["prompt"])
    said = near.select("id", "similarity", "repeats", prompt=UTTERANCE, answer=ANSWER)
    judged = [_judge(row, case, task) for row in said.iter_rows(named=True)]
    judged.sort(key=lambda n: (not n["conflict"], -n["similarity"], n["id"]))
    kept = {n["id"]: n for n in judged[:limit]}
    rows = near.filter(pl.col("id").is_in(list(kept))).select(ROW_SCHEMA.names())
    explained = {said["id"]: said for said in explain_rows(view, rows)}
    keep = ("source", "origin", "delivered", "made_from", "stems_from", "scores")
    return {
        "version": view.label,
        "case": case,
        "conflicts": sum(n["conflict"] for n in judged),
        "neighbours": [{**n, **{k: explained[i][k] for k in keep}} for i, n in kept.items()],
    }


def _find_case(view: View, wanted: str) -> dict[str, Any] | None:
    """A case the version answered, by its id or prompt, or by the id of the bad case it made."""
    cases = view.steps["evaluation"].table("rows").filter(pl.col("arm") == "candidate")
    bad = view.store.head(f"{view.recipe}/bad_cases")
    links = bad.table("rows", columns=["id", "row_id"]) if bad else pl.DataFrame()
    known = cases.with_columns(row_id="id")
    if bad is not None:
        names = links.select(row_id="row_id", case="id")
        named = known.join(names, on="row_id").with_columns(id="case").select(known.columns)
        known = pl.concat([known, named])
    found = one_case(known, wanted, "cases")
    if found is None:
        return None
    said = ("split", "prompt", "gold", "predicted", "exact", "signature")
    return {"id": found["row_id"], **{k: found[k] for k in said}}


def _nearest(view: View, prompt: str) -> pl.DataFrame:
    """Trained domain rows with the column `similarity`, the nearest `LOOKED_AT` of them."""
    table = view.steps["training_set"]
    prompts = table.table("rows", columns=["id", "track", "messages"])
    prompts = prompts.filter(pl.col("track") == "domain").select("id", prompt=UTTERANCE)
    key = text_key(prompt)
    likely = prompts.with_columns(shared=_shared(key)).filter(pl.col("shared") > 0)
    likely = likely.sort("shared", "id", descending=[True, False]).head(LOOKED_AT)
    scores = [jaccard(key, text_key(p)) for p in likely["prompt"]]
    scored = likely.select("id", similarity=pl.Series(scores, dtype=pl.Float64))
    return table.lookup("rows", likely["id"].to_list()).join(scored, on="id")


def _shared(key: str) -> pl.Expr:
    """How many of the key's n-grams a prompt holds, less what it holds besides: a cheap guess."""
    wanted = sorted(grams(key, gram_size(key)))[:MOST_GRAMS]
    text = pl.col("prompt").str.to_lowercase()
    hits = pl.sum_horizontal(text.str.contains(g, literal=True).cast(pl.Int32) for g in wanted)
    return pl.when(hits > 0).then(hits / (len(wanted) + text.str.len_chars())).otherwise(0.0)


def _judge(row: dict[str, Any], case: dict[str, Any], task: Task) -> dict[str, Any]:
    closed = set(task.closed)
    shape = answer_shape(row["answer"], closed)
    says = "other"
    for whose in ("gold", "predicted"):
        if says == "other" and shape == answer_shape(case[whose], closed):
            says = whose
    same = task.canonical(row["answer"]) == task.canonical(case["gold"])
    return {
        "id": row["id"],
        "similarity": round(row["similarity"], 4),
        "prompt": row["prompt"],
        "answer": row["answer"],
        "says": says,
        "conflict": not same and row["similarity"] >= (RELATED if says == "predicted" else NEAR),
        "repeats": row["repeats"],
    }


def answer_shape(answer: str, closed: Iterable[str] = ()) -> str:
    """An answer with `…` for every value outside the closed slots; other text is its own shape."""
    try:
        value = json.loads(answer)
    except ValueError:
        return answer.strip()
    return json.dumps(_shape(value, set(closed), ""), ensure_ascii=False, sort_keys=True)


def _shape(value: Any, closed: set[str], slot: str) -> Any:
    if isinstance(value, dict):
        return {k: _shape(v, closed, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_shape(v, closed, slot) for v in value]
    return value if slot in closed else "…"
