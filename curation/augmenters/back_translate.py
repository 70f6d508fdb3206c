"""Seeds in other words by way of another language: 中文 into English and back, and the reverse.

Back-translation as a paraphraser (Sennrich et al., 2016; Yu et al., 2018). The prompt is what comes
back, the answer stays the seed's, so whatever the answer rests on has to survive the way.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

from curation.augmenters._base import Augmented, AugmentWork
from curation.augmenters._known import KnownRows
from curation.augmenters._llm_band import Band, check_band, perplexity_band
from curation.augmenters._llm_calls import TRANSLATION, Ask
from curation.augmenters._llm_opinions import Asked, JudgeOptions, Opinions
from curation.augmenters._llm_rows import Proposal, proposal_text, read_proposal, refusal
from curation.augmenters._llm_run import call_parameters, choose_language, open_calls
from curation.augmenters._llm_seeds import (
    Draft,
    Seed,
    SeedBook,
    as_examples,
    list_seeds,
    next_seeds,
)
from curation.augmenters._llm_votes import check_votes
from curation.augmenters._prompts import Prompt, fill_messages, load_prompt
from curation.json_text import fenced
from curation.llm_door import check_base_url
from curation.llm_options import CallOptions
from curation.plugins import Secret, plugin
from curation.rows import dialogue, guess_language
from curation.tasks._base import Task
from curation.text import is_negated, text_key

Language = Literal["zh", "en"]
_OTHER: dict[str, Language] = {"zh": "en", "en": "zh"}
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_MOST_CHARS = 8000


@plugin()
def back_translate(
    *,
    model: str,
    base_url: str = "https://api.openai.com/v1",
    api_key: Secret = Secret("OPENAI_API_KEY"),  # noqa: B008  # the name, not the secret
    perplexity: list[float] = (),  # type: ignore[assignment]  # empty is ()
    votes: int = 0,
    judge: JudgeOptions | None = None,
    max_calls: int = 200,
    max_tokens: int = 2048,
    temperature: float = 0.7,
    json_mode: bool = True,
    concurrency: int = 8,
    timeout_s: float = 120.0,
    budget_usd: float | None = None,
    usd_per_m_prompt: float | None = None,
    usd_per_m_completion: float | None = None,
    calls: CallOptions = CallOptions(),  # noqa: B008  # frozen
) -> Callable[[AugmentWork], Augmented]:
    """An augmenter that has `model` translate each Chinese or English single-turn seed and back.

    Two calls a seed, at most `max_calls` new ones. The other options are those of `llm`. Raises
    `ValueError` when the variable `api_key` is not set, and `CallsStopped` when the endpoint
    refuses the run.
    """
    check_base_url(base_url)
    check_band(perplexity)
    check_votes(votes)
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
        prompts = {name: load_prompt("translate", name, "v1") for name in _OTHER}
        book = SeedBook(work, open_calls(work, endpoint), "back_translate")
        told = choose_language(work, "auto")
        opinions = Opinions(load_prompt("answer", told, "v1"), parameters, votes, judge)
        band, drafts = perplexity_band(work, perplexity), []
        every = list_seeds(work.seeds)
        seeds = [seed for seed in every if _language(seed) in _OTHER]
        there = [(seed, _ask(seed, seed["prompt"], prompts[_language(seed)], parameters))
                 for seed in seeds]  # fmt: skip
        middle = [
            (seed, _ask(seed, text, prompts[_OTHER[_language(seed)]], parameters))
            for seed, said, call in book.ask(there, max_calls // 2)
            if (text := _translated(book, said, call, to=_OTHER[_language(seed)]))
        ]
        known = _known_rows(work, every)
        for seed, said, call in book.ask(middle, max_calls // 2):
            text = _translated(book, said, call, to=_language(seed))
            if text and (proposal := _accepted(book, known, seed, text, call, band)):
                known.add(proposal.prompt, proposal.answer)
                own = work.task.part(proposal.prompt, seed["gold"])[1]
                messages = dialogue(proposal.prompt, seed["gold"], system=own.system)
                meta = {
                    "prompt": prompts[_language(seed)].label,
                    "by_way_of": _OTHER[_language(seed)],
                }
                edges = {seed["id"]: "translate"}
                shown = as_examples(next_seeds(every, seed))
                asked = Asked(proposal, seed["category"], shown)
                drafts.append(Draft(seed, asked, messages, call, edges, meta))
        book.take(drafts, opinions)
        return book.result(seeds)

    return augment


def lost_on_the_way(task: Task, prompt: str, back: str) -> str:
    """`other_numbers`, `other_negation` or "": what prose may not lose on the way.

    A task with fields knows more: it grounds each value of the answer in what came back.
    """
    if task.fields:
        return ""
    before, after = text_key(prompt), text_key(back)
    if Counter(_NUMBER.findall(before)) != Counter(_NUMBER.findall(after)):
        return "other_numbers"
    return "other_negation" if is_negated(before) != is_negated(after) else ""


def _language(seed: Seed) -> str:
    return guess_language(seed["prompt"])


def _ask(seed: Seed, text: str, prompt: Prompt, parameters: Mapping[str, Any]) -> Ask:
    messages = fill_messages(prompt, {"task": "", "fields": ()}, said=fenced(text))
    request = {"messages": messages, **parameters}
    return Ask(TRANSLATION, seed["category"], request, (seed["id"],))


def _translated(book: SeedBook, said: Mapping[str, Any], call: str, *, to: str) -> str:
    """The translation in an answer; "" where there is none, which is written down."""
    text = said.get("text")
    if not isinstance(text, str) or not text.strip():
        book.refuse(proposal_text(said), "no_text", call)
        return ""
    if (language := guess_language(text)) not in (to, "mixed"):
        book.refuse(text, f"language:{language}", call)
        return ""
    return text.strip()


def _accepted(
    book: SeedBook, known: KnownRows, seed: Seed, text: str, call: str, band: Band | None
) -> Proposal | None:
    """The seed's answer for the prompt that came back, None where it was refused."""
    task, exam = book.work.task, book.work.exam
    try:
        proposal = read_proposal({"prompt": text, "answer": seed["gold"]})
    except ValueError as error:
        book.refuse(text, str(error), call)
        return None
    said: dict[str, Any] = {"task": task, "known": known, "exam": exam, "band": band}
    said["max_chars"] = _MOST_CHARS
    own = task.part(seed["prompt"], seed["gold"])[1]
    reason = lost_on_the_way(own, seed["prompt"], text) or refusal(proposal, **said)
    if reason:
        book.refuse(text, reason, call)
    return None if reason else proposal


def _known_rows(work: AugmentWork, seeds: list[Seed]) -> KnownRows:
    """Seeds and bad cases: what comes back has to say what none of them says."""
    cases = work.bad_cases
    prompts = [*(seed["prompt"] for seed in seeds), *cases["prompt"]]
    return KnownRows(work.task, prompts, [*(seed["gold"] for seed in seeds), *cases["gold"]])
