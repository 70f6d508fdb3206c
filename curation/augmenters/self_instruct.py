"""Rows after a few dozen seeds, as many of each category: self-instruct (Wang et al., 2023).

The calls, the checks and the stops are those of the augmenter `llm`; here a type is a category of
seeds and what is shown are seeds of it. A category that has rows enough gets none, so rare ones
catch up. Of bad cases nothing is made.
"""

from collections.abc import Callable
from typing import Literal

import polars as pl

from curation.augmenters._base import Augmented, AugmentWork
from curation.augmenters._llm_band import check_band
from curation.augmenters._llm_batch import Told
from curation.augmenters._llm_opinions import JudgeOptions, Opinions
from curation.augmenters._llm_run import call_parameters, choose_language, write_rows
from curation.augmenters._llm_types import CATEGORY, Limits, OpenType
from curation.augmenters._llm_votes import check_votes
from curation.augmenters._prompts import load_prompt
from curation.llm_door import check_base_url
from curation.llm_options import CallOptions
from curation.plugins import Secret, plugin
from curation.rows import ANSWER, UTTERANCE


@plugin()
def self_instruct(
    *,
    model: str,
    base_url: str = "https://api.openai.com/v1",
    api_key: Secret = Secret("OPENAI_API_KEY"),  # noqa: B008  # the name, not the secret
    per_category: int = 50,
    per_call: int = 20,
    look_first: Literal["auto", "people"] = "auto",
    perplexity: list[float] = (),  # type: ignore[assignment]  # empty is ()
    votes: int = 0,
    judge: JudgeOptions | None = None,
    min_yield: float = 0.25,
    min_novelty: float = 0.5,
    min_accepted: float = 0.8,
    max_calls: int = 200,
    max_tokens: int = 4096,
    temperature: float = 0.9,
    json_mode: bool = True,
    language: Literal["auto", "zh", "en"] = "auto",
    concurrency: int = 8,
    timeout_s: float = 120.0,
    budget_usd: float | None = None,
    usd_per_m_prompt: float | None = None,
    usd_per_m_completion: float | None = None,
    calls: CallOptions = CallOptions(),  # noqa: B008  # frozen
) -> Callable[[AugmentWork], Augmented]:
    """An augmenter that fills each category of the seeds up to `per_category` rows, seeds included.

    The other options are those of `llm`. Raises `ValueError` when the variable `api_key` is not
    set, and `CallsStopped` when the endpoint refuses the run.
    """
    check_base_url(base_url)
    check_band(perplexity)
    check_votes(votes)
    limits = Limits(per_category, min_yield, min_novelty, look_first, min_accepted)
    parameters = call_parameters(temperature, max_tokens, json_mode=json_mode)
    endpoint = {
        "base_url": base_url,
        "api_key": api_key,
        "model": model,
        "concurrency": concurrency,
        "timeout_s": timeout_s,
        "budget_usd": budget_usd,
        "usd_per_m_prompt": usd_per_m_prompt,
        "usd_per_m_completion": usd_per_m_completion,
        "calls": calls,
    }

    def augment(work: AugmentWork) -> Augmented:
        said = choose_language(work, language)
        opinions = Opinions(load_prompt("answer", said, "v1"), parameters, votes, judge)
        rows = load_prompt("self_instruct", said, "v1")
        marks = ("self_instruct", "augment_seed")
        told = Told(said, rows, opinions, parameters, perplexity, *marks)
        return write_rows(
            work,
            list_categories(work.seeds, per_category),
            endpoint=endpoint,
            told=told,
            limits=limits,
            per_call=per_call,
            max_calls=max_calls,
        )

    return augment


def list_categories(seeds: pl.DataFrame, per_category: int) -> list[OpenType]:
    """The categories of single-turn seeds with the rows that each is short of, by name."""
    single = seeds.filter(pl.col("n_turns") == 1, pl.col("tools") == "")
    shown = single.select("id", "category", row_id="id", prompt=UTTERANCE, gold=ANSWER).sort("id")
    shown = shown.drop_nulls("gold").filter(pl.col("gold") != "")
    return [
        OpenType(category, _lesson(category), per_category - rows.height, rows.to_dicts(), CATEGORY)
        for (category,), rows in sorted(shown.partition_by("category", as_dict=True).items())
        if rows.height < per_category
    ]


def _lesson(category: str) -> dict[str, str]:
    return {"name": category or "rows", "name_zh": category or "数据"}
