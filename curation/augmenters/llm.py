"""Rows written by a language model against each error type, looked at before more are bought.

A type gets one call at a time, its first one alone. What was refused, and why, goes into the next
call of that type. A type stops when few rows of a call are valid or new, because more of the same
would be alike, until new bad cases come; and where people are to look, it waits for what they say
of its first rows. Every row knows the call that made it and the bad case it follows.

What an earlier version bought is read again, by the checks of today, as long as the bad cases and
examples it showed are there; new calls are made only for rows that are still wanted, and show first
the bad cases that none showed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from curation.augmenters._base import Augmented, AugmentWork
from curation.augmenters._llm_band import check_band
from curation.augmenters._llm_batch import Told
from curation.augmenters._llm_calls import Calls
from curation.augmenters._llm_names import ask_names
from curation.augmenters._llm_opinions import JudgeOptions, Opinions
from curation.augmenters._llm_run import call_parameters, choose_language, write_rows
from curation.augmenters._llm_types import Limits, open_types
from curation.augmenters._llm_votes import check_votes
from curation.augmenters._prompts import load_prompt
from curation.llm_door import check_base_url
from curation.llm_options import CallOptions
from curation.plugins import Secret, plugin


@plugin()
def llm(
    *,
    model: str,
    base_url: str = "https://api.openai.com/v1",
    api_key: Secret = Secret("OPENAI_API_KEY"),  # noqa: B008  # the name, not the secret
    prompt: Literal["v1", "v2"] | Path = "v2",
    per_call: int = 20,
    per_type: int = 200,
    name_types: bool = False,
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
    """An augmenter that asks `model` for `per_call` rows at a time, by error type and quota.

    At most `per_type` rows a type, and `max_calls` new calls for rows; all calls together cost at
    most `budget_usd`. A type stops when less than `min_yield` of a call's rows are valid or less
    than `min_novelty` of them are new. With `look_first: people` it gets its second call when all
    rows of the first have a verdict and `min_accepted` of them were accepted. `perplexity`
    bounds the quantile of what a row reads like among the trusted rows. With `votes` the model
    answers each prompt alone so often, and most answers must be the proposed one; what is left is
    graded by the `judge`.
    `name_types` has each type named by one call. `prompt` is a version of ours or a file,
    `language` that of the instructions; `auto` follows the seeds. `json_mode` asks the endpoint for
    JSON, which a few refuse. Calls are kept in `calls.sqlite` in the work's cache folder, so a run
    that is repeated or resumed pays for none twice. Raises `ValueError` when the variable `api_key`
    is not set or the prompt is none, and `CallsStopped` when the endpoint refuses the run.
    """
    check_base_url(base_url)
    check_band(perplexity)
    check_votes(votes)
    limits = Limits(per_type, min_yield, min_novelty, look_first, min_accepted)
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
        rows = load_prompt("augment", said, prompt)
        told = Told(said, rows, opinions, parameters, perplexity)
        types = open_types(work, per_type)

        def name(calls: Calls) -> None:
            asked = load_prompt("name", said, "v1")
            ask_names(types, work, calls, prompt=asked, parameters=parameters)

        return write_rows(
            work,
            types,
            endpoint=endpoint,
            told=told,
            limits=limits,
            per_call=per_call,
            max_calls=max_calls,
            prepare=name if name_types else None,
        )

    return augment
