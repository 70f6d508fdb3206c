"""What other rules would change, from the scores that are stored: nothing is measured or built."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from curation.fates import TooManyDropped, count_fates, require_share
from curation.rules import judge_rows, parse_rules
from curation.store import Version


@dataclass(frozen=True)
class Preview:
    """The rules as they would be, and who would enter and leave the kept rows.

    `enter` has id, source and `was`, the reason the row is out now; `leave` has id, source and the
    reason, value and threshold it would go by. `sources` has, for each source, how many rows are
    kept now, would be kept, would enter and would leave. `guard` says why the guard would stop the
    build, "" where it would not.
    """

    rules: list[str]
    enter: pl.DataFrame
    leave: pl.DataFrame
    sources: pl.DataFrame
    guard: str


def preview_rules(
    kept_rows: Version, keep: Sequence[str], rules: Sequence[str], *, guard: Mapping[str, Any]
) -> Preview:
    """Judge the rows that `kept_rows` judged by `keep` with `rules` put into it.

    A rule takes the place of those that read the same columns, or comes last. Rows on which a
    scorer failed stay quarantined. `guard` holds the options of `fates.require_share`. Raises
    `ValueError` for a rule that is none or names a column that is not there.
    """
    rows, scores = kept_rows.input("split_rows"), kept_rows.lookup("scores", ())
    plain = rows.lookup("rows", (), texts=False)
    schema = pl.Schema({**plain.schema, **scores.schema})
    merged = put_rules(keep, rules, schema)
    named = {name for rule in parse_rules(merged, schema) for name in rule.columns}
    fates = kept_rows.table("fates", ["id", "source", "fate", "reason"])
    judged = fates.filter(pl.col("fate") != "quarantined").select("id", "source")
    for version, table, has in ((rows, "rows", plain), (kept_rows, "scores", scores)):
        columns = sorted(named & {*has.columns} - {*judged.columns})
        if columns:
            found = version.table(table, ["id", *columns])
            judged = judged.join(found, on="id", how="left", maintain_order="left")
    then = judge_rows(judged, merged)
    both = then.join(fates.select("id", now="fate", was="reason"), on="id", maintain_order="left")
    now, after = pl.col("now") == "kept", pl.col("fate") == "kept"
    enters, leaves = after & ~now, now & ~after
    counted = both.group_by("source").agg(
        now=now.sum(), then=after.sum(), enter=enters.sum(), leave=leaves.sum()
    )
    broken = fates.filter(pl.col("fate") == "quarantined")
    return Preview(
        merged,
        both.filter(enters).select("id", "source", "was"),
        both.filter(leaves).select("id", "source", "reason", "value", "threshold"),
        counted.sort("source"),
        _stopped_by(pl.concat([then.select(fates.columns), broken]), guard),
    )


def put_rules(keep: Sequence[str], rules: Sequence[str], schema: pl.Schema) -> list[str]:
    """`keep` with the rules in the place of those that read the same columns, or at the end.

    Raises `ValueError` as `rules.parse_rules` does.
    """
    given: dict[frozenset[str], list[str]] = {}
    for rule in parse_rules(rules, schema):
        given.setdefault(frozenset(rule.columns), []).append(rule.text)
    replaced, put = {*given}, list[str]()
    for rule in parse_rules(keep, schema):
        columns = frozenset(rule.columns)
        put += given.pop(columns, []) if columns in replaced else [rule.text]
    return [*put, *(text for texts in given.values() for text in texts)]


def _stopped_by(fates: pl.DataFrame, guard: Mapping[str, Any]) -> str:
    try:
        require_share(count_fates(fates), **guard)
    except TooManyDropped as error:
        return str(error)
    return ""
