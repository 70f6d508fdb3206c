"""One run of an augmenter that asks a language model: calls until every type has what it wants."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from curation.augmenters._base import Augmented, AugmentWork
from curation.augmenters._llm_batch import Batch, Told
from curation.augmenters._llm_calls import Calls
from curation.augmenters._llm_types import Limits, OpenType
from curation.llm_ledger import LEDGER

Prepare = Callable[[Calls], None]
"""What is asked before the first rows are."""


def write_rows(
    work: AugmentWork,
    types: Sequence[OpenType],
    *,
    endpoint: Mapping[str, Any],
    told: Told,
    limits: Limits,
    per_call: int,
    max_calls: int,
    prepare: Prepare | None = None,
) -> Augmented:
    """Rows for each type, what earlier versions bought first, one call at a time for each.

    `endpoint` is that of `open_calls`.
    """
    calls = open_calls(work, endpoint)
    if prepare:
        prepare(calls)
    batch = Batch(work, calls, told, limits)
    batch.read_again(types)
    left = max_calls
    while (asked := [t for t in types if t.is_open][: max(0, left)]) and not calls.stopped:
        left -= len(asked)
        replies = calls.ask([batch.request(t, per_call) for t in asked])
        batch.take([*zip(asked, replies, strict=True)])
        work.report(batch.line())
    return batch.result(types)


def open_calls(work: AugmentWork, endpoint: Mapping[str, Any]) -> Calls:
    """Calls to `endpoint`, the keyword arguments of `complete_all` but for those that `work` has.

    Its `api_key` names a variable; raises `ValueError` when that is not set.
    """
    secret = os.environ.get(name := endpoint["api_key"])
    if not secret:
        raise ValueError(f"the environment variable {name} is not set; export {name}=…")
    ours = {"api_key": secret, "cache": work.cache / LEDGER, "report": work.report}
    return Calls({**endpoint, **ours}, work.bought)


def choose_language(work: AugmentWork, asked: str) -> str:
    """The language asked for; of `auto` `zh` when at least half of the seeds hold Chinese."""
    if asked != "auto":
        return asked
    return (
        "zh" if work.seeds["lang"].is_in(["zh", "mixed"]).sum() * 2 >= work.seeds.height else "en"
    )


def call_parameters(temperature: float, max_tokens: int, *, json_mode: bool) -> dict[str, Any]:
    """The parameters of a request beside its messages."""
    parameters: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens}
    return parameters | ({"response_format": {"type": "json_object"}} if json_mode else {})
