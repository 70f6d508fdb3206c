"""Leaks: whether any trained row gives an exam row away, looked for anew in the stored versions.

The split step decides this with an index; here nothing of its verdict is read. Every trained row is
compared with every protected exam row in three ways, and each says how many it compared.
"""

from typing import Any

import polars as pl

from curation.leakage import stemming_from
from curation.lineage.family import links_of
from curation.lineage.preferred import taught_pairs
from curation.lineage.views import View, model_view
from curation.pairs import pair_rows
from curation.rows import ANSWER, UTTERANCE
from curation.similarity import gram_size, grams, jaccard
from curation.store import Store
from curation.tasks._base import Task
from curation.text import _simplified, text_key, text_keys

THRESHOLD = 0.8
_SCREEN = 0.6
"""Share of n-grams two plainly folded texts must have in common to be compared exactly."""
_SIZE = pl.col("plain").str.len_chars()
LEAKS = pl.Schema({"id": pl.String, "of": pl.String, "how": pl.String, "similarity": pl.Float64})
"""A trained row, the exam row it gives away, and exact | near | stems_from."""


def find_model_leaks(
    store: Store, recipe: str, name: str, *, task: Task, threshold: float = THRESHOLD
) -> dict[str, Any]:
    """`lineage leak`: trained rows that give a protected exam row away, and what was compared.

    The right answers of pairs that the version was preferred on count as trained rows.
    `exact` is the same id, or the same prompt in any typography; `near` is a prompt at least as
    near as the threshold with the same answer; `stems_from` is a row made, over any number of
    steps, from a protected row or from a bad case that is held back.
    """
    view = model_view(store, recipe, name)
    columns = ["id", "track", "messages"]
    trained = view.steps["training_set"].table("rows", columns=columns)
    taught = pair_rows(taught_pairs(view.steps.get("adapter")), task=task).select(trained.columns)
    trained = pl.concat([trained, taught.join(trained, on="id", how="anti")])
    exam = view.steps["split_rows"].table("exam", columns=[*columns, "guarded"])
    sides = [_keyed(trained), _keyed(exam.filter("guarded"))]
    by_text = _by_text(sides[0], sides[1], task, threshold)
    found = pl.concat([_same_ids(sides[0], sides[1]), by_text, _stemming(view, trained, exam)])
    found = found.unique(["id", "of"], keep="first", maintain_order=True).sort("how", "id", "of")
    text = pl.concat([s.select("id", "prompt") for s in sides]).unique("id")
    pairs = found.join(text, on="id", how="left").join(
        text.rename({"id": "of", "prompt": "gives_away"}), on="of", how="left"
    )
    return {
        "version": view.label,
        "leaks": pairs.to_dicts(),
        "compared": {
            "trained": trained.height,
            "exam": sides[1].height,
            "edges": links_of(view).height,
            "threshold": threshold,
        },
        "gate_said": view.steps["evaluation"].tables["leaks"]["rows"],
    }


def _keyed(rows: pl.DataFrame) -> pl.DataFrame:
    """id, track, prompt, answer and `plain`: the prompt folded by what Polars can do at speed."""
    said = rows.select("id", "track", prompt=UTTERANCE, answer=ANSWER)
    plain = pl.col("prompt").str.normalize("NFKC").str.to_lowercase()
    plain = plain.str.replace_many({chr(old): new for old, new in _simplified().items()})
    return said.with_columns(plain=plain.str.replace_all(r"[\p{P}\p{S}\s]", ""))


def _same_ids(trained: pl.DataFrame, exam: pl.DataFrame) -> pl.DataFrame:
    both = trained.select("id").join(exam.select("id"), on="id", how="semi")
    return both.select("id", of="id", how=pl.lit("exact"), similarity=pl.lit(1.0))


def _by_text(
    trained: pl.DataFrame, exam: pl.DataFrame, task: Task, threshold: float
) -> pl.DataFrame:
    """Exact and near prompts: screened on shared n-grams, then compared on their text keys."""
    sides = [said.filter(pl.col("plain") != "") for said in (trained, exam)]
    if any(said.is_empty() for said in sides):
        return LEAKS.to_frame()
    found = []
    screened = _screen(*sides)
    keys = (text_keys(screened[name]) for name in ("prompt", "of_prompt"))
    for row, key, of_key in zip(screened.iter_rows(named=True), *keys, strict=True):
        near = 1.0 if key == of_key else jaccard(of_key, key)
        if key == of_key or (near >= threshold and _same_answer(row, task)):
            how = "exact" if key == of_key else "near"
            found.append({"id": row["id"], "of": row["of"], "how": how, "similarity": near})
    return pl.DataFrame(found, schema=LEAKS)


def _screen(trained: pl.DataFrame, exam: pl.DataFrame) -> pl.DataFrame:
    """Trained rows beside each exam row of their track (`of_`) that they may be near.

    A text that shares `_SCREEN` of another's n-grams holds one of any set of its n-grams that
    leaves out less than that; so looking for a few of them misses none.
    """
    folded = trained.with_columns(size=_SIZE).with_row_index("n")
    asked = exam.with_columns(size=_SIZE).with_row_index("of_n")
    wanted: dict[str, list[int]] = {}
    for number, plain in enumerate(asked["plain"]):
        parts = sorted(grams(plain, gram_size(plain)))
        needed = len(parts) - int(_SCREEN * len(parts)) + 1
        for part in sorted(parts, key=lambda g: (len(wanted.get(g, ())), g))[:needed]:
            wanted.setdefault(part, []).append(number)
    parts = pl.DataFrame(
        [(part, number) for part, numbers in wanted.items() for number in numbers],
        schema={"part": pl.String, "of_n": pl.UInt32}, orient="row",
    )  # fmt: skip
    found = pl.col("plain").str.extract_many(sorted(wanted), overlapping=True)
    hits = folded.select("n", part=found).explode("part").drop_nulls().unique()
    pairs = hits.join(parts, on="part").select("of_n", "n").unique().sort("of_n", "n")
    pairs = pairs.join(folded, on="n", maintain_order="left").join(
        asked.rename({name: f"of_{name}" for name in ("track", "prompt", "answer", "size")}
                     | {"id": "of"}).drop("plain"),
        on="of_n", maintain_order="left",
    )  # fmt: skip
    fits = pl.min_horizontal("size", "of_size") >= _SCREEN * pl.max_horizontal("size", "of_size")
    return pairs.filter(fits & (pl.col("track") == pl.col("of_track")))


def _same_answer(row: dict[str, Any], task: Task) -> bool:
    same = task.canonical if row["track"] == "domain" else text_key
    return same(row["answer"]) == same(row["of_answer"])


def _stemming(view: View, trained: pl.DataFrame, exam: pl.DataFrame) -> pl.DataFrame:
    """Trained rows made from a protected row, or from a bad case of the half that is held back."""
    cases = view.steps["bad_cases"].table("rows", columns=["id", "half"])
    held = cases.filter(pl.col("half") == "hold")["id"]
    roots = pl.concat([exam.filter("guarded")["id"], held])
    leaks = stemming_from(links_of(view), roots).join(trained, on="id", how="semi")
    return leaks.select(
        "id", "of", how=pl.lit("stems_from"), similarity=pl.lit(None, dtype=pl.Float64)
    ).sort("id", "of")
