"""Error types: which bad cases are mistakes of one kind, and how many rows each kind should get.

A type bears the signature that the task gives its cases and, where many share one, what they ask
for: `wrong_value:actions.value/打开`. People may rename a type, merge it into another, or mute it,
so that nothing is made of its cases. What they say lies in an inbox, and the last word counts.
"""

from collections.abc import Callable, Iterable, Mapping
from math import sqrt
from typing import Any

import polars as pl

from curation.inbox import Delivery, Inbox, Line, distinct_lines
from curation.rows import clean_text, digest
from curation.store import Store
from curation.tasks._base import Task

TYPE_SCHEMA = pl.Schema(
    {
        "signature": pl.String,  # of the type
        "n": pl.Int64,  # cases to learn from
        "quota": pl.Int64,  # rows that are wanted
        "name": pl.String,
        "name_zh": pl.String,
        "stopped": pl.String,  # "", muted | sample failed | no gain
        "cases": pl.List(pl.String),  # ids of its bad cases, the held ones too
    }
)
CHANGE_SCHEMA = pl.Schema(
    {
        "id": pl.String,
        "act": pl.String,  # rename | merge | mute
        "signature": pl.String,
        "value": pl.String,  # the name, the type to merge into, yes | no
        "by": pl.String,
        "said_at": pl.String,
    }
)
INBOX = Inbox("error_types", ("act", "signature", "value", "by", "said_at"), "change")
ACTS = ("rename", "merge", "mute")
MUTED, SAMPLE_FAILED, NO_GAIN = "muted", "sample failed", "no gain"
_ZH = {
    "bad_gold": "标准答案有误",
    "not_json": "不是 JSON",
    "unknown_field": "多了未知字段",
    "missing": "漏了字段",
    "extra": "多了字段",
    "too_few": "条目太少",
    "too_many": "条目太多",
    "wrong_order": "顺序错误",
    "missing_slot": "漏了槽位",
    "extra_slot": "多了槽位",
    "wrong_value": "取值错误",
    "empty": "空答案",
    "too_short": "太短",
    "too_long": "太长",
    "wrong_number": "数字错误",
    "other_text": "答非所问",
    "equal": "答案相同",
}


def find_error_types(
    cases: pl.DataFrame,
    *,
    task: Task | None = None,
    changes: pl.DataFrame | None = None,
    stalled: Iterable[str] = (),
    failed: Iterable[str] = (),
    rows_per_case: int = 6,
    topic_cases: int = 0,
) -> pl.DataFrame:
    """The kinds of error among bad cases (`TYPE_SCHEMA`), most frequent first.

    Each has at least one case to learn from. Where `topic_cases` of one signature share the closed
    values of their right answer, they are a type of their own. The quotas come to `rows_per_case`
    for each case that is not muted; a type's share goes with the square root of its frequency, so
    that a rare error is not drowned by a common one. `stalled` types, and those of which
    people's sample `failed`, keep their quota, and nothing more is bought for them.
    """
    changes = CHANGE_SCHEMA.to_frame() if changes is None else changes
    said = {(act, s): value for act, s, value in changes.select("act", "signature", "value").rows()}
    named = cases.select("id", "half", signature=_name_types(cases, task, topic_cases))
    names = named["signature"].unique()
    into = pl.Series([_follow(name, said) for name in names], dtype=pl.String)
    named = named.with_columns(pl.col("signature").replace_strict(names, into))
    found = named.group_by("signature").agg(
        n=(pl.col("half") == "learn").sum().cast(pl.Int64), cases=pl.col("id").sort()
    )
    found = found.filter(pl.col("n") > 0).sort(["n", "signature"], descending=[True, False])
    muted = [said.get(("mute", s)) == "yes" for s in found["signature"]]
    roots = [0.0 if quiet else sqrt(n) for quiet, n in zip(muted, found["n"], strict=True)]
    total = rows_per_case * sum(n for quiet, n in zip(muted, found["n"], strict=True) if not quiet)
    stopped = pl.when(pl.Series(muted, dtype=pl.Boolean)).then(pl.lit(MUTED))
    stopped = stopped.when(pl.col("signature").is_in([*failed])).then(pl.lit(SAMPLE_FAILED))
    stopped = stopped.when(pl.col("signature").is_in([*stalled])).then(pl.lit(NO_GAIN))
    return found.with_columns(
        quota=pl.Series([round(total * r / (sum(roots) or 1)) for r in roots], dtype=pl.Int64),
        name=_named(found, said, readable_name),
        name_zh=_named(found, said, _readable_zh),
        stopped=stopped.otherwise(pl.lit("")),
    ).select(TYPE_SCHEMA.names())


def cases_by_type(cases: pl.DataFrame, types: pl.DataFrame) -> pl.DataFrame:
    """The bad cases of types that are not muted, each under the `signature` of its type."""
    open_types = types.filter(pl.col("stopped") != MUTED)
    members = open_types.select("signature", id="cases").explode("id", empty_as_null=False)
    joined = cases.drop("signature").join(members, on="id", maintain_order="left")
    return joined.select(cases.columns)


def add_changes(store: Store, records: Iterable[tuple[str, Any]]) -> Delivery:
    """Put (position, record) pairs into the inbox; returns only after they are on disk.

    A record has `act` (`rename`, `merge` or `mute`), the `signature` of the type, `value` and,
    where it wants, `by` and `at`. An empty name gives back the first one, and so does a type that
    is merged into itself.
    """
    return INBOX.add(store, records, _read_change)


def read_changes(delivered: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """The last word on each type (`CHANGE_SCHEMA`, sorted by id), of the lines of the inbox."""
    last = {(line["act"], line["signature"]): line for line in distinct_lines(delivered)}
    said = [{name: line[name] for name in CHANGE_SCHEMA} for line in last.values()]
    return pl.DataFrame(said, schema=CHANGE_SCHEMA).sort("id")


def changes_digest(delivered: Iterable[Mapping[str, Any]]) -> str:
    """Digest of what people said of error types."""
    return digest(read_changes(delivered)["id"].to_list())


def readable_name(signature: str) -> str:
    """What a type is called before anybody names it."""
    return signature.replace("_", " ").replace(":", ": ").replace("/", ", ")


def _name_types(cases: pl.DataFrame, task: Task | None, topic_cases: int) -> pl.Series:
    """The type of each case: its signature, and what is asked for where enough cases share it."""
    if task is None or not task.closed or topic_cases < 1:
        return cases["signature"]
    topics = pl.Series([_topic(task, gold) for gold in cases["gold"]], dtype=pl.String)
    told = cases.select("half", "signature").with_columns(topic=topics)
    many = (pl.col("half") == "learn").sum().over("signature", "topic") >= topic_cases
    whole = pl.col("signature") + "/" + pl.col("topic")
    own = many & (pl.col("topic") != "")
    return told.select(pl.when(own).then(whole).otherwise("signature")).to_series()


def _topic(task: Task, gold: str) -> str:
    """The closed values of an answer, such as the acts it asks for."""
    slots = (slot.partition("=") for slot in task.slots(gold))
    values = {value for place, _, value in slots if place.rpartition(".")[2] in task.closed}
    return "+".join(sorted(values))


def _follow(signature: str, said: Mapping[tuple[str, str], str]) -> str:
    """The type that a type was merged into, by however many steps; round a circle it stays."""
    seen = [signature]
    while (into := said.get(("merge", seen[-1]), seen[-1])) != seen[-1]:
        if into in seen:
            return signature
        seen.append(into)
    return seen[-1]


def _named(
    types: pl.DataFrame, said: Mapping[tuple[str, str], str], otherwise: Callable[[str], str]
) -> pl.Series:
    names = [said.get(("rename", s)) or otherwise(s) for s in types["signature"]]
    return pl.Series(names, dtype=pl.String)


def _readable_zh(signature: str) -> str:
    whole, _, topic = signature.partition("/")
    kind, _, place = whole.partition(":")
    part, _, kind = kind.rpartition(".")  # `chat.too_short`, of a task that has parts
    said = "：".join(filter(None, [_ZH.get(kind, kind), place]))
    return "，".join(filter(None, [part, said, topic]))


def _read_change(record: Mapping[str, Any]) -> Line:
    said = {name: record.get(name, "") for name in ("act", "signature", "value", "by", "at")}
    if odd := [name for name, text in said.items() if not isinstance(text, str)]:
        raise ValueError(f"{odd[0]!r} is {said[odd[0]]!r:.80}, not text")
    act, signature, value, by, at = (clean_text(text).strip() for text in said.values())
    if act not in ACTS:
        raise ValueError(f"'act' is {act!r:.80}, not {', '.join(ACTS[:-1])} or {ACTS[-1]}")
    if not signature or (act == "merge" and not value):
        raise ValueError(f"no error type is named to {act}")
    if act == "mute" and value not in ("yes", "no"):
        raise ValueError(f"'value' is {value!r:.80}; a type is muted or not by yes or no")
    return {"act": act, "signature": signature, "value": value, "by": by, "said_at": at}
