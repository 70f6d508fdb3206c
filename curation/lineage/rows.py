"""Rows: what a model was trained on, and why any one row is or is not there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from curation.conflicts import REJECTED
from curation.lineage.calls import read_call
from curation.lineage.family import ancestors, edges_of, links_of
from curation.lineage.finding import find_rows, row_places, rows_by_id, texts
from curation.lineage.shared import lookup_each
from curation.lineage.texts import say_text, text_fates
from curation.lineage.views import FATE_STEPS, View, model_view, read_occurrences, views_to_ask
from curation.lineage.waits import find_waiting, say_waits
from curation.rows import TEXT_TRACK
from curation.store import Store, Version

TRAINED = "trained on"
"""The verdict on a row that came to a training set."""
Fate = dict[str, Any]
"""What `FATE_SCHEMA` says of a row, without what says nothing."""
Fates = dict[str, dict[str, Fate]]
"""For each id: step -> its fate there."""


def training_rows(
    store: Store, recipe: str, name: str, *, where: str = "", limit: int | None = None
) -> pl.DataFrame:
    """`lineage rows`: the rows a model version was trained on, with their scores and parents.

    `where` is one SQL condition over the columns, such as `source = 'seeds' and perplexity > 0.5`.
    At most `limit` rows, by id. Raises `ValueError` for a condition that cannot be read.
    """
    view = model_view(store, recipe, name)
    table = view.steps["training_set"]
    if not where and limit is None:
        return _with_scores(view, table.table("rows"))
    ids = training_ids(store, recipe, name, where=where)
    chosen = ids if limit is None else ids.head(limit)
    return _with_scores(view, table.lookup("rows", chosen.to_list()).sort("id"))


def training_ids(store: Store, recipe: str, name: str, *, where: str = "") -> pl.Series:
    """Ids of the trained rows that meet a condition, sorted; reads only the columns it names."""
    view = model_view(store, recipe, name)
    table = view.steps["training_set"]
    wanted = _columns_of(where) if where else []
    columns = [c for c in table.tables["rows"]["columns"] if c in wanted and c != "id"]
    rows = table.table("rows", columns=["id", *columns])
    if set(wanted) - set(rows.columns):
        rows = _with_scores(view, rows)
    if where:
        try:
            rows = rows.filter(pl.sql_expr(where))
        except pl.exceptions.PolarsError as error:
            every = [*table.tables["rows"]["columns"], *rows.columns]
            said = str(error).splitlines()[0].partition(";")[0]
            known = ", ".join(dict.fromkeys(every))
            raise ValueError(f"--where {where!r}: {said}; columns: {known}") from None
    return rows["id"].sort()


def _columns_of(where: str) -> list[str]:
    try:
        return pl.sql_expr(where).meta.root_names()
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"--where {where!r}: {str(error).splitlines()[0]}") from None


def _with_scores(view: View, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with one column a scorer, and `parents` where they were made from something."""
    edges = edges_of(view)
    parents = edges.group_by("child").agg(pl.col("parent").unique().sort().alias("parents"))
    scores = view.steps["kept_rows"].lookup("scores", rows["id"])
    rows = rows.join(scores, on="id", how="left", maintain_order="left")
    return rows.join(parents, left_on="id", right_on="child", how="left", maintain_order="left")


def explain_row(
    store: Store, recipe: str, wanted: str, *, name: str = "", limit: int = 100
) -> list[dict[str, Any]]:
    """`lineage why`: the whole way of each row whose id starts with, or text holds, `wanted`.

    Each answer has the id, its text, where it was delivered, what it was made from (with the bad
    case and the archived call), its fate at each step, its scores, and the verdict in words.
    Without `name` the latest model version answers, and before there is one, or for rows it never
    saw, the newest version of each step. Records that never became a row are found by their text
    or position, refused proposals of an augmenter by their text. Of a row that waits for people it
    says so, also where only the newest steps hold it back.
    """
    views = views_to_ask(store, recipe, name)
    for view in views:
        found = pl.concat([find_rows(view, wanted, limit=limit), find_waiting(view, wanted)])
        rows = explain_rows(view, found.unique("id", keep="first", maintain_order=True))
        answers = [*_with_waits(view, views[-1], rows), *_quarantined(view, wanted)]
        answers += _refused(view, wanted)
        if answers:
            return answers[:limit]
    return []


def _with_waits(
    view: View, newest: View, answers: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The answers of a view, with what is held back there, or since then, until people judge it."""
    ids = [answer["id"] for answer in answers]
    then, now = say_waits(view, ids), say_waits(newest, ids)
    for answer in answers:
        id, verdict = answer["id"], answer["verdict"]
        if id in now and id not in then:
            verdict = f"{verdict}; since then it {now[id]}"
        yield {**answer, "verdict": then.get(id, verdict)}


def explain_rows(view: View, rows: pl.DataFrame) -> list[dict[str, Any]]:
    """One answer for each row (`ROW_SCHEMA`) as `explain_row` gives it."""
    ids = rows["id"].to_list()
    fates = row_fates(view, ids) | text_fates(view, rows)
    stems = _stems_from(view, ids)
    parts = {
        "scores": _scores(view, ids),
        "reviews": _reviews(view, ids, fates),
        "delivered": _delivered(view, ids),
        "edges": edges_of(view).filter(pl.col("child").is_in(ids)),
    }
    return [
        _explain(view, row, fates[row["id"]], parts, stems[row["id"]]) for row in rows.to_dicts()
    ]


def row_fates(view: View, ids: list[str]) -> Fates:
    """For each id: step -> its fate there, of the steps that judged it."""
    return fates_in_each([view], [ids])[0]


def fates_in_each(views: Sequence[View], asked: Sequence[list[str]]) -> list[Fates]:
    """`row_fates` of several views, each of ids of its own; what they share is read once.

    A step judges what the steps before it kept. So the last is asked first: those it knows were
    kept before. The others go from the first step on as far as they were kept.
    """
    found: list[Fates] = [{i: {} for i in ids} for ids in asked]
    steps = [view.fate_steps for view in views]
    chained, last = [*map(_is_chain, views)], [next(reversed(some), "") for some in steps]
    first = [ids if chain else [] for ids, chain in zip(asked, chained, strict=True)]
    known: list[dict[str, Fate]] = [{} for _ in views]
    for name in FATE_STEPS:
        told = _fates_at(
            steps, name, [i if at == name else [] for i, at in zip(first, last, strict=True)]
        )
        known = [before | now for before, now in zip(known, told, strict=True)]
    on_way = [[i for i in ids if i not in own] for ids, own in zip(asked, known, strict=True)]
    for name in FATE_STEPS:
        told = _fates_at(steps, name, on_way)
        for n in (n for n, some in enumerate(steps) if name in some):
            kept = {i: {"id": i, "fate": "kept"} for i in known[n]}
            for i, fate in (told[n] | (known[n] if name == last[n] else kept)).items():
                found[n][i][name] = fate
            if chained[n]:
                on_way[n] = [i for i, fate in told[n].items() if fate["fate"] == "kept"]
    return found


def _fates_at(
    steps: Sequence[Mapping[str, Version]], name: str, asked: Sequence[list[str]]
) -> list[dict[str, Fate]]:
    """The fates in one step of each view, of ids of its own; none where it has no such step."""
    there = [n for n, some in enumerate(steps) if name in some and asked[n]]
    ids = {i for n in there for i in asked[n]}
    told = lookup_each([steps[n][name] for n in there], "fates", ids) if there else []
    found: list[dict[str, Fate]] = [{} for _ in steps]
    for n, rows in zip(there, told, strict=True):
        for i in asked[n]:
            if i in rows:
                said = rows[i].items()
                found[n][i] = {k: v for k, v in said if k != "source" and v not in (None, "")}
    return found


def _is_chain(view: View) -> bool:
    """Whether the last step was made from these very versions of the others."""
    steps = view.fate_steps
    if view.entry or not steps:  # a model's are those that its training set was made from
        return True
    *others, last = steps
    upstream = steps[last].upstream()
    return all(n in upstream and upstream[n].key == steps[n].key for n in others)


def say_verdict(view: View, row: Mapping[str, Any], fates: Mapping[str, Any]) -> str:
    """The whole way of a row in one sentence."""
    if row.get("track") == TEXT_TRACK:
        return say_text(view, row["id"], fates, say_fate)
    for step, fate in fates.items():
        if fate["fate"] != "kept":
            return say_fate(step, fate)
    if "training_set" in fates:
        return TRAINED
    if not fates and row["split"] != "train":
        return f"not a candidate: it belongs to the {row['split']} split"
    judged = list(fates)
    missing = next((s for s in ("duplicates", "split_rows", "kept_rows", "training_set")
                    if s not in fates), "")  # fmt: skip
    so_far = f"kept at {judged[-1]}; " if judged else ""
    built = "has not seen it yet" if missing in view.steps else "has not been built yet"
    return f"{so_far}{missing} {built}"


def say_fate(step: str, fate: Mapping[str, Any]) -> str:
    """One fate in words, such as `dropped at kept_rows: length <= 400, measured 512`."""
    measured = f", measured {fate['value']:.4g}" if "value" in fate else ""
    near = f" (similarity {fate.get('similarity', 1):.2f})"
    into = f" into {fate['into']}{near}" if "into" in fate else ""
    return f"{fate['fate']} at {step}{into}: {fate.get('reason', 'no reason')}{measured}"


def _explain(
    view: View,
    row: Mapping[str, Any],
    fates: Mapping[str, Any],
    parts: Mapping[str, pl.DataFrame],
    stems_from: list[dict[str, Any]],
) -> dict[str, Any]:
    own = pl.col("id") == row["id"]
    made_from = parts["edges"].filter(pl.col("child") == row["id"])
    calls = made_from["call"].unique().sort().to_list() if row["origin"] == "llm" else []
    call = read_call(view, calls[0]) if calls else None
    asked = {row["id"], _accepted(fates)}
    reviewed = parts["reviews"].filter(pl.col("id").is_in(asked)).to_dicts()
    return {
        "id": row["id"],
        "text": texts(dict(row)),
        "verdict": say_verdict(view, row, fates),
        "asked_of": view.label or "the newest steps",
        "source": row["source"],
        "origin": row["origin"],
        "split": row["split"],
        "license": row["license"],
        "delivered": parts["delivered"].filter(own).drop("id").to_dicts(),
        "made_from": made_from.select("parent", "kind", "call").to_dicts(),
        "stems_from": stems_from,
        "fates": dict(fates),
        "scores": next(parts["scores"].filter(own).drop("id").iter_rows(named=True), {}),
        **({"reviewed": reviewed[0]} if reviewed else {}),
        **({"call": call} if call else {}),
    }


def _accepted(fates: Mapping[str, Any]) -> str:
    """The row that people accepted in place of one that they rejected; "" where there is none."""
    fate = fates.get("duplicates", {})
    return fate.get("into", "") if fate.get("reason") == REJECTED else ""


def _reviews(view: View, ids: list[str], fates: Fates) -> pl.DataFrame:
    """What people said of these rows, or of those accepted in their place."""
    columns = ["id", "verdict", "by", "reason"]
    if "verdicts" not in view.steps:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    asked = {*ids, *(_accepted(fates[i]) for i in ids)}
    return view.steps["verdicts"].lookup("rows", asked, columns)


def _stems_from(view: View, ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Every ancestor of each row: bad cases with what was wrong, then rows with their text."""
    links = links_of(view) if ids else None
    found = {i: ancestors(links, [i]) if links is not None else {} for i in ids}
    every = sorted({i for own in found.values() for i in own})
    said: dict[str, list[dict[str, Any]]] = {i: [] for i in every}
    if every and "bad_cases" in view.steps:
        cases = view.steps["bad_cases"].lookup("rows", every)
        keep = ("prompt", "gold", "predicted", "found_by", "half", "signature")
        for case in cases.to_dicts():
            said[case["id"]].append({"bad_case": case["id"], **{k: case[k] for k in keep}})
    for row in rows_by_id(row_places(view), every).to_dicts():
        said[row["id"]].append({"row": row["id"], "source": row["source"], "text": texts(row)})
    told = {i: [one for parent in sorted(own) for one in said[parent]] for i, own in found.items()}
    return {i: sorted(some, key=lambda one: "row" in one) for i, some in told.items()}


def _delivered(view: View, ids: list[str]) -> pl.DataFrame:
    columns = ["id", "source", "revision", "position", "outcome"]
    if "rows" not in view.steps:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    found = read_occurrences(view, columns, ids)
    return found.sort("source", maintain_order=True)


def _scores(view: View, ids: list[str]) -> pl.DataFrame:
    if "kept_rows" not in view.steps:
        return pl.DataFrame(schema={"id": pl.String})
    return view.steps["kept_rows"].lookup("scores", ids)


def _quarantined(view: View, wanted: str) -> list[dict[str, Any]]:
    """Records that could not be read, by their raw text or position."""
    columns = ["source", "position", "outcome", "reason", "raw"]
    steps = {n: step for n, step in view.steps.items() if _may_refuse(step)}
    occurrences = read_occurrences(replace(view, steps=steps), columns, [""])  # none has an id
    refused = occurrences.filter(
        (pl.col("outcome") == "quarantined")
        & (pl.col("raw").str.contains(wanted, literal=True) | (pl.col("position") == wanted))
    )
    return [
        _never_a_row(view, record["raw"], record["source"],
                     f"quarantined at {record['position']}: {record['reason']}")
        for record in refused.to_dicts()
    ]  # fmt: skip


def _may_refuse(step: Version) -> bool:
    """Whether it is a source some of whose records were quarantined, as its counts say."""
    fates = step.values.get("fates", {"quarantined": 1})
    return "/sources/" in step.name and any(fate.startswith("quarantined") for fate in fates)


def _refused(view: View, wanted: str) -> list[dict[str, Any]]:
    """Proposals that the augmenter refused, by their text, with the call that made them."""
    step: Version | None = view.steps.get("augmented_rows")
    if step is None or not step.tables["rejected"]["rows"]:
        return []
    refused = step.table("rejected").filter(pl.col("text").str.contains(wanted, literal=True))
    answers = []
    for record in refused.unique(maintain_order=True).to_dicts():
        call = read_call(view, record["call"])
        said = _never_a_row(view, record["text"], "the augmenter", f"refused: {record['reason']}")
        answers.append({**said, "made_by": record["call"], **({"call": call} if call else {})})
    return answers


def _never_a_row(view: View, text: str, source: str, verdict: str) -> dict[str, Any]:
    asked = view.label or "the newest steps"
    return {"id": "", "text": [text], "verdict": verdict, "asked_of": asked, "source": source}
