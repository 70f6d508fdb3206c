"""Splits: what is tested on is never trained on, nor anything that stems from it or resembles it.

A cluster is what stems from one another or says the same. Held-out prompts have two halves, by a
digest that never changes: the `learn` half may be learned from once a model failed there, the
`hold` half is only ever measured. Protected are test rows and the `hold` half; a training row that
gives one of them away is dropped as a leak.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import polars as pl

from curation.dedup import sign_rows, with_texts
from curation.fates import kept, make_fates
from curation.progress import Progress, Report, silent
from curation.rows import ROW_SCHEMA, UTTERANCE, dialogue, digest, make_row
from curation.stars import RowIndex, band_keys
from curation.tasks._base import Task
from curation.text import text_keys

CLUSTER_SCHEMA = pl.Schema({"id": pl.String, "cluster": pl.String})
LEAK_SCHEMA = pl.Schema(
    {"id": pl.String, "of": pl.String, "similarity": pl.Float64, "kind": pl.String}
)
"""A training row, the protected row it gives away, their Jaccard index (null for a cluster), and
cluster | prompt | near."""


def half_of(cluster: str) -> Literal["learn", "hold"]:
    """The half a held-out cluster belongs to, for ever: a digest of its name decides."""
    return "hold" if hashlib.sha256(f"half:{cluster}".encode()).digest()[0] % 2 else "learn"


def assign_clusters(
    rows: pl.DataFrame,
    edges: pl.DataFrame,
    pairs: pl.DataFrame,
    *,
    previous: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The cluster of every row and of every end of an edge or pair: `CLUSTER_SCHEMA`, sorted by id.

    Joined are child and parent (`EDGE_SCHEMA`) and id and into (duplicates). A new cluster is named
    by its smallest id. With `previous` (id, cluster) a cluster keeps the name its rows had, and
    stays one although the row that joined them is gone; where two grew together the name of a
    `hold` half wins, so that what was only measured is never learned from later.
    """
    known = CLUSTER_SCHEMA.to_frame() if previous is None else previous
    parents: dict[str, str] = {}
    for one, other in [
        *pairs.select("id", "into").iter_rows(),
        *edges.select("child", "parent").iter_rows(),
        *known.select("id", "was:" + pl.col("cluster")).iter_rows(),
    ]:
        _join(parents, one, other)
    ids = {*rows["id"], *pairs["id"], *pairs["into"], *edges["child"], *edges["parent"]}
    named = dict(known.select("id", "cluster").iter_rows())
    groups: dict[str, list[str]] = {}
    for i in sorted(ids | named.keys()):
        groups.setdefault(_root(parents, i), []).append(i)
    names = {root: _name_cluster(members, named) for root, members in groups.items()}
    found = [(i, names[_root(parents, i)]) for i in sorted(ids)]
    return pl.DataFrame(found, schema=CLUSTER_SCHEMA, orient="row")


def name_clusters(rows: pl.DataFrame) -> pl.DataFrame:
    """`CLUSTER_SCHEMA` of domain rows: the cluster that a row's prompt alone puts it in."""
    domain = rows.filter(pl.col("track") == "domain")
    names = [digest(key) for key in text_keys(domain.select(u=UTTERANCE)["u"])]
    return pl.DataFrame({"id": domain["id"], "cluster": names}, schema=CLUSTER_SCHEMA)


def assign_splits(
    rows: pl.DataFrame,
    clusters: pl.DataFrame,
    *,
    previous: pl.DataFrame | None = None,
    test: float = 0.0,
    heldout: float = 0.0,
) -> pl.DataFrame:
    """The rows with their split: what the source says, but once in test always in test.

    `previous` (id, split) is what an earlier version assigned. The shares `test` and `heldout`
    (0..1) take clusters of imported domain rows out of training by the digest of their names, for
    projects whose sources bring no split. Generated rows are never moved into test: those that stem
    from it are leaks. Raises `ValueError` for shares that leave nothing.
    """
    if not 0 <= test + heldout < 1 or min(test, heldout) < 0:
        raise ValueError(f"test {test!r} and heldout {heldout!r} leave no share for training")
    tested = [] if previous is None else previous.filter(pl.col("split") == "test")["id"].to_list()
    if not (test or heldout or tested):
        return rows
    placed = rows.select("id").join(clusters, on="id", how="left", maintain_order="left")
    names = placed["cluster"].fill_null(placed["id"])
    places = pl.Series([_place(name) for name in names], dtype=pl.Float64)
    free = (pl.col("split") == "train") & (pl.col("track") == "domain")
    free &= pl.col("origin").is_in(["import", "human"])
    split = pl.when(pl.col("id").is_in(tested) | (free & (places < test))).then(pl.lit("test"))
    split = split.when(free & (places < test + heldout)).then(pl.lit("heldout"))
    return rows.with_columns(split=split.otherwise("split"))


def protected_rows(
    rows: pl.DataFrame, bad_cases: pl.DataFrame, *, task: Task | None = None
) -> pl.DataFrame:
    """What training must not see (`ROW_SCHEMA`, sorted by id): test rows and all `hold` halves.

    Those are held-out rows whose prompt falls into the half, and bad cases (prompt, gold, half)
    of it, which need not have come from a row.
    """
    keys = text_keys(rows.select(text=UTTERANCE)["text"])
    hold = pl.Series([half_of(digest(key)) == "hold" for key in keys], dtype=pl.Boolean)
    split = pl.col("split")
    ours = rows.filter((split == "test") | ((split == "heldout") & hold))
    held = bad_cases.filter(pl.col("half") == "hold").select("prompt", "gold").iter_rows()
    told = ((p, g, task.part(p, g)[1].system if task else "") for p, g in held)
    cases = [make_row(dialogue(p, g, system=system), split="heldout") for p, g, system in told]
    frames = [ours.select(ROW_SCHEMA.names()), pl.DataFrame(cases, schema=ROW_SCHEMA)]
    return pl.concat(frames).unique("id", keep="first", maintain_order=True).sort("id")


def drop_leaks(
    train: pl.DataFrame,
    imported: pl.DataFrame,
    clusters: pl.DataFrame,
    bad_cases: pl.DataFrame,
    *,
    task: Task | None = None,
    threshold: float = 0.8,
    templates: Sequence[str] = (),
    alike: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    read: Callable[[pl.Series], pl.DataFrame] | None = None,
    report: Report = silent,
) -> pl.DataFrame:
    """A fate for each training row: `kept`, or `dropped` as a `leak` of the row in `into`.

    A row leaks when its cluster holds a protected row (of `imported` or `bad_cases`), so generated
    rows follow their parents out of training, or when `find_leaks` finds it.
    """
    if alike is not None:  # nothing else is asked of them then
        train = train.select("id", "prompt_id", "source", "track")
    protected = protected_rows(imported, bad_cases, task=task)
    named = protected.select(of="id").join(clusters, left_on="of", right_on="id").sort("of")
    named = named.unique("cluster", keep="first", maintain_order=True)
    related = train.select("id").join(clusters, on="id").join(named, on="cluster")
    unrelated = train.join(related, on="id", how="anti")
    options: dict[str, Any] = {"threshold": threshold, "templates": templates}
    options |= {"alike": alike, "read": read}
    found = find_leaks(unrelated, protected, task=task, report=report, **options)
    related = related.select("id", "of", similarity=pl.lit(None, pl.Float64))
    leaks = pl.concat([related, found.select(related.columns)])
    gone = make_fates(
        train.select("id", "source").join(leaks, on="id"),
        "dropped",
        reason="leak",
        into=pl.col("of"),
        similarity=pl.col("similarity"),
    )
    return pl.concat([kept(train.join(leaks, on="id", how="anti")), gone]).sort("id")


def find_leaks(
    train: pl.DataFrame,
    test: pl.DataFrame,
    *,
    task: Task | None = None,
    threshold: float = 0.8,
    templates: Sequence[str] = (),
    permutations: int = 128,
    seed: int = 1,
    alike: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    read: Callable[[pl.Series], pl.DataFrame] | None = None,
    report: Report = silent,
) -> pl.DataFrame:
    """Training rows that give a test row away: `LEAK_SCHEMA`, sorted by id, one line each.

    `prompt` is the same prompt in any typography, whatever the answer; `near` is what
    `find_duplicates` would have merged. No line means no leak. With `read` (as in
    `find_duplicates`) and `alike` the training rows may lack their texts: `alike` gives the
    signatures, by the same options, of all that share a prompt or a band with some signed rows;
    more do no harm.
    """
    options: dict[str, Any] = {
        "threshold": threshold,
        "permutations": permutations,
        "seed": seed,
        "templates": templates,
        "task": task,
    }
    read = read or (lambda ids: train.join(ids.to_frame("id"), on="id", how="semi"))
    tested = _signed(test, sign_rows(test, **options))
    signed = sign_rows(train, **options) if alike is None else alike(tested)
    trained = _signed(train, signed)
    same = _same_prompts(train, trained, tested)
    close = trained.filter(_share_bands_with(trained, tested)).join(same, on="id", how="anti")
    index = RowIndex(threshold)
    for row in with_texts(tested, test, task, templates=templates).iter_rows(named=True):
        index.add(row)
    progress, near = Progress(close.height, "leaks", report), []
    close = with_texts(close, read(close["id"]), task, templates=templates)
    for row in close.iter_rows(named=True):
        if found := index.find(row):
            near.append((row["id"], found[1], found[0], "near"))
        progress.step()
    leaks = pl.DataFrame(near, schema=LEAK_SCHEMA, orient="row")
    return pl.concat([same, leaks]).sort("id")


def _signed(rows: pl.DataFrame, signed: pl.DataFrame) -> pl.DataFrame:
    """Signatures with what rows are told apart by, as if they were of one split, by id."""
    labels = rows.select("id", "prompt_id", "track", split=pl.lit("")).sort("id")
    return labels.join(signed, on="id", maintain_order="left")


def _same_prompts(train: pl.DataFrame, signed: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """Leaks by the very prompt, or by what it says in any typography."""
    found = [
        rows.join(
            test.select(name, of="id").unique(name, keep="first", maintain_order=True), on=name
        )
        for rows, name in ((train, "prompt_id"), (signed, "prompt"))
    ]
    leaks = [f.select("id", "of", similarity=1.0, kind=pl.lit("prompt")) for f in found]
    return pl.concat(leaks).unique("id", keep="first", maintain_order=True)


def _share_bands_with(train: pl.DataFrame, test: pl.DataFrame) -> pl.Series:
    """Whether a row shares a band with a test row of its block."""
    keys, owners = band_keys(train)
    known, _ = band_keys(test)
    shared = pl.repeat(False, train.height, eager=True)
    return shared.scatter(owners.filter(keys.is_in(known.implode())), True)


def _place(cluster: str) -> float:
    """A number in 0..1 that is uniform over clusters and always the same for one."""
    return int(hashlib.sha256(f"split:{cluster}".encode()).hexdigest()[:13], 16) / 16**13


def _root(parents: dict[str, str], node: str) -> str:
    """The representative of a node's set, the path to it halved on the way (Tarjan, 1975)."""
    while (up := parents.setdefault(node, node)) != node:
        parents[node] = parents.setdefault(up, up)
        node = parents[node]
    return node


def _join(parents: dict[str, str], one: str, other: str) -> None:
    a, b = _root(parents, one), _root(parents, other)
    parents[max(a, b)] = min(a, b)


def _name_cluster(members: list[str], named: dict[str, str]) -> str:
    names = {named[m] for m in members if m in named}
    return min(names, key=lambda n: (half_of(n) != "hold", n)) if names else min(members)
