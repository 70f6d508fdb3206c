"""Rules: one SQL sentence each, the same for rows and for models.

A row or model passes when the sentence is true; a missing value makes it neither true nor false, so
it breaks the rule. Only the value itself is judged: aggregates and divisions are refused, because
the first would make a row's fate depend on its neighbours and the second can hide a missing number.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl
import polars.selectors as cs

from curation.fates import make_fates
from curation.plugins import nearest

FUNCTIONS = (
    "abs",
    "round",
    "floor",
    "ceil",
    "length",
    "lower",
    "upper",
    "starts_with",
    "ends_with",
)
_KEYWORDS = ("and", "or", "not", "in", "like", "ilike", "between", "is", "when", "then", "else")
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|`[^`]*`""")
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\(")
_ORDERED = re.compile(r"(\w+)\s*(?:<=|>=|<|>)\s*([+-]?\d[\d.]*(?:[eE][+-]?\d+)?)")
_SIMPLE = re.compile(r"\s*(\w+)\s*(?:<=|>=|<>|!=|==?|<|>)\s*([+-]?[\d.]+(?:[eE][+-]?\d+)?)\s*")


@dataclass(frozen=True)
class Rule:
    """A rule as written, as an expression, and the columns it reads.

    `threshold` is the number of a rule of the form `column op number`, else null.
    """

    text: str
    expression: pl.Expr
    columns: tuple[str, ...]
    threshold: float | None = None


def parse_rules(rules: Iterable[str], columns: Iterable[str]) -> list[Rule]:
    """The rules, checked: each is one SQL condition over `columns` (names, or a schema).

    With a schema (`pl.Schema` or another mapping of names to types) it is also checked that each
    rule is a condition. Raises `ValueError`, one line with the rule shown, for a syntax error, an
    unknown column (with the nearest name), an aggregate or a division.
    """
    schema = columns if isinstance(columns, Mapping) else None
    names = list(columns)
    parsed = [_parse_rule(text, names) for text in rules]
    for rule in parsed if schema is not None else ():
        _check_condition(rule, pl.Schema(schema))  # type: ignore[arg-type]
    return parsed


def read_columns(rules: Iterable[str], columns: Iterable[str]) -> set[str]:
    """Names of the columns that the rules read."""
    return {name for rule in parse_rules(rules, list(columns)) for name in rule.columns}


def find_thresholds(rule: str) -> list[tuple[str, float]]:
    """Each column that a rule compares with a number, and the number at which the rule turns.

    `0.2 < x` is not found; write `x > 0.2`.
    """
    bare = _QUOTED.sub("''", rule)
    return [(name, float(number)) for name, number in _ORDERED.findall(bare)]


def judge_rows(rows: pl.DataFrame, rules: Iterable[str | Rule]) -> pl.DataFrame:
    """A fate of `FATE_SCHEMA` for each row: `kept`, or `dropped` by the first rule it breaks.

    `rows` holds id, source and every column the rules name. Value and threshold are recorded for
    rules of the form `column op number`; NaN and infinity count as missing.
    """
    parsed = _parsed(rules, rows.schema)
    rows = _without_nan(rows)
    broken = [pl.when(~_holds(rule)) for rule in parsed]
    marks = pl.coalesce(
        *[w.then(pl.lit(i)) for i, w in enumerate(broken)], pl.lit(None, dtype=pl.Int32)
    )
    judged = rows.with_columns(__broken=marks)
    parts = [make_fates(judged.filter(pl.col("__broken").is_null()), "kept")]
    for i, rule in enumerate(parsed):
        value = None if rule.threshold is None else pl.col(rule.columns[0]).cast(pl.Float64)
        dropped = judged.filter(pl.col("__broken") == i)
        parts.append(
            make_fates(dropped, "dropped", reason=rule.text, value=value, threshold=rule.threshold)
        )
    return pl.concat(parts).sort("id")


def judge_values(
    rules: Iterable[str | Rule], values: Mapping[str, float | bool | str | None]
) -> list[tuple[str, bool, str]]:
    """For each rule: its text, whether the values satisfy it, and the values it was judged on.

    The detail reads `exact_match 0.71, champion_exact_match 0.46`, or `… is missing`. `None`, NaN
    and infinity are missing and break the rule.
    """
    row = _without_nan(pl.DataFrame({name: [_plain(value)] for name, value in values.items()}))
    verdicts = []
    for rule in _parsed(rules, row.schema):
        ok = bool(row.select(ok=_holds(rule))["ok"][0])
        shown = [_show(name, row[name][0]) for name in rule.columns]
        verdicts.append((rule.text, ok, ", ".join(shown)))
    return verdicts


def _parsed(rules: Iterable[str | Rule], schema: pl.Schema) -> list[Rule]:
    """Rules over a frame's schema, each known to be a condition there."""
    texts = [rule if isinstance(rule, str) else rule.text for rule in rules]
    return parse_rules(texts, schema)


def _parse_rule(text: str, names: list[str]) -> Rule:
    bare = _QUOTED.sub("''", text)
    _refuse(text, bare)
    try:
        expression = pl.sql_expr(text)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"rule {text!r}: {str(error).splitlines()[0]}") from None
    columns = tuple(dict.fromkeys(expression.meta.root_names()))
    if not columns:
        raise ValueError(f"rule {text!r} names no column")
    for name in columns:
        if name not in names:
            hint = f"; text stands in single quotes: '{name}'" if f'"{name}"' in text else ""
            raise ValueError(f"rule {text!r}: unknown column {name!r}{nearest(name, names)}{hint}")
    simple = _SIMPLE.fullmatch(text)
    return Rule(text, expression, columns, float(simple[2]) if simple else None)


def _refuse(text: str, bare: str) -> None:
    """Raise for what `pl.sql_expr` accepts and a rule may not hold."""
    for call in _CALL.findall(bare):
        if call.lower() not in FUNCTIONS + _KEYWORDS:
            known = ", ".join(FUNCTIONS)
            raise ValueError(f"rule {text!r}: {call}() is not for rules; functions: {known}")
    if re.search(r"[/%]", bare):
        raise ValueError(f"rule {text!r}: write a division as a product, such as a > b * 0.5")
    if re.search(r"\bselect\b|\bover\b|--", bare, re.IGNORECASE):
        raise ValueError(f"rule {text!r}: a rule is one condition, not a query")


def _check_condition(rule: Rule, schema: pl.Schema) -> None:
    empty = pl.LazyFrame(schema={name: schema[name] for name in rule.columns})
    try:
        kind = empty.select(ok=rule.expression).collect().schema["ok"]
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"rule {rule.text!r}: {str(error).splitlines()[0]}") from None
    if kind not in (pl.Boolean, pl.Null):
        raise ValueError(
            f"rule {rule.text!r} is {kind}, not a condition; write one such as "
            f"'{rule.columns[0]} < …'"
        )


def _holds(rule: Rule) -> pl.Expr:
    """Whether the rule is true; false, never null, where a value is missing."""
    return rule.expression.cast(pl.Boolean).fill_null(False)


def _without_nan(rows: pl.DataFrame) -> pl.DataFrame:
    """NaN and infinity as null: NaN > 0.5 is true in Polars, and would keep what has no score."""
    numbers = cs.float()
    return rows.with_columns(pl.when(numbers.is_finite()).then(numbers))


def _plain(value: float | bool | str | None) -> float | bool | str | None:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _show(name: str, value: float | bool | str | None) -> str:
    if value is None:
        return f"{name} is missing"
    return f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}"
