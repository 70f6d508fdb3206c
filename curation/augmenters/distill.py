"""Seeds answered by a stronger model: its answers, with its reasoning, or after solved seeds.

Distillation as in Kim and Rush (2016), chain of thought as in Wei et al. (2022). The prompt is the
seed's own, and the answer is kept when the task finds nothing wrong with it for that prompt. What
`form: few_shot` shows stands in the row as earlier turns, so what is asked stays the last turn.
"""

from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from curation.augmenters._base import Augmented, AugmentWork
from curation.augmenters._llm_band import Band, check_band, perplexity_band
from curation.augmenters._llm_calls import ANSWER, Ask
from curation.augmenters._llm_opinions import Asked, JudgeOptions, Opinions
from curation.augmenters._llm_rows import Proposal, proposal_text, read_proposal, refusal
from curation.augmenters._llm_run import call_parameters, choose_language, open_calls
from curation.augmenters._llm_seeds import Draft, Seed, SeedBook, as_examples, list_seeds
from curation.augmenters._llm_votes import DISPUTED, check_votes
from curation.augmenters._prompts import Prompt, fill_messages, load_prompt, show_examples
from curation.json_text import fenced
from curation.llm_door import check_base_url
from curation.llm_options import CallOptions
from curation.personal import find_personal, kinds_of
from curation.plugins import Secret, plugin
from curation.rows import clean_text, dialogue, digest
from curation.tasks._base import Task
from curation.unsafe_text import unsafe_reason

Form = Literal["answer", "reasoned", "few_shot"]
SAME = "says_what_the_seed_says"
_MOST_CHARS = 8000
_LAYOUTS = {"think": "<think>\n{}\n</think>\n\n{}", "text": "{}\n\n{}"}


@plugin()
def distill(
    *,
    model: str,
    base_url: str = "https://api.openai.com/v1",
    api_key: Secret = Secret("OPENAI_API_KEY"),  # noqa: B008  # the name, not the secret
    form: Form = "answer",
    reasoning: Literal["think", "text"] = "think",
    shots: int = 3,
    perplexity: list[float] = (),  # type: ignore[assignment]  # empty is ()
    votes: int = 0,
    judge: JudgeOptions | None = None,
    max_calls: int = 200,
    max_tokens: int = 4096,
    temperature: float = 0.2,
    json_mode: bool = True,
    language: Literal["auto", "zh", "en"] = "auto",
    concurrency: int = 8,
    timeout_s: float = 120.0,
    budget_usd: float | None = None,
    usd_per_m_prompt: float | None = None,
    usd_per_m_completion: float | None = None,
    calls: CallOptions = CallOptions(),  # noqa: B008  # frozen
) -> Callable[[AugmentWork], Augmented]:
    """An augmenter that has `model` answer each single-turn seed, at most `max_calls` new ones.

    The model sees `shots` other seeds with their answers, and with `form: few_shot` the row shows
    them, too. With `reasoned` the reasoning stands before the answer, in `<think>` or as text.
    The other options are those of `llm`. Raises `ValueError` when the variable `api_key` is not
    set or the form does not fit the task, and `CallsStopped` when the endpoint refuses the run.
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
        check_form(work.task, form=form, shots=shots)
        kind = "reason" if form == "reasoned" else "distill"
        told = choose_language(work, language)
        prompt = load_prompt(kind, told, "v1")
        opinions = Opinions(load_prompt("answer", told, "v1"), parameters, votes, judge)
        band, drafts = perplexity_band(work, perplexity), []
        book = SeedBook(work, open_calls(work, endpoint), "distill")
        seeds = list_seeds(work.seeds)
        asked = [
            ((seed, shown), _ask(seed, shown, work.task, prompt, parameters))
            for seed, shown in choose_shots(seeds, work, shots)
            if shown or form != "few_shot"
        ]
        for (seed, shown), said, call in book.ask(asked, max_calls):
            try:
                proposal = _read_proposal(seed, said, work, form, band)
                answer = _read_answer(proposal, said, form, _LAYOUTS[reasoning])
            except ValueError as error:
                book.refuse(proposal_text(said), str(error), call)
                continue
            turns = shown if form == "few_shot" else []
            edges = {seed["id"]: "transform"} | {one["id"]: "fewshot" for one in turns}
            meta = {"form": form, "prompt": prompt.label}
            messages = _as_turns(turns, seed["prompt"], answer, _task_of(seed, work.task).system)
            looked_at = Asked(proposal, seed["category"], as_examples(shown))
            drafts.append(Draft(seed, looked_at, messages, call, edges, meta))
        book.take(drafts, opinions)
        return book.result(seeds)

    return augment


def check_form(task: Task, *, form: str = "answer", shots: int = 3) -> None:
    """Raise `ValueError` where the task has no rows of this form."""
    if form == "reasoned" and task.fields:
        raise ValueError(
            f"form: 'reasoned' puts prose before the answer, and this task's answers are JSON "
            f"({', '.join(task.fields)}); use 'answer' or 'few_shot'"
        )
    if shots < (least := 1 if form == "few_shot" else 0):
        raise ValueError(f"shots: {shots!r} is too few for the form {form!r}; at least {least}")


def choose_shots(
    seeds: Sequence[Seed], work: AugmentWork, count: int
) -> Iterator[tuple[Seed, list[Seed]]]:
    """Each seed with `count` others whose answers the task accepts: those that an earlier version
    showed with it, else the next ones on a ring of digests, which few new seeds change."""
    solved = [seed for seed in seeds if not work.task.check(seed["prompt"], seed["gold"])]
    places, known = [digest(seed["id"]) for seed in solved], {seed["id"]: seed for seed in solved}
    asked = work.bought.calls.filter(kind=ANSWER).select("cases", "examples").iter_rows()
    before = {cases[0]: ids for cases, ids in asked}
    for seed in seeds:
        ids = before.get(seed["id"])
        if ids is not None and known.keys() >= {*ids}:
            yield seed, [known[i] for i in ids]
            continue
        start, shown = bisect(places, digest(["shots", seed["id"]])), []
        for step in range(len(solved)):
            other = solved[(start + step) % len(solved)]
            if len(shown) < count and other["prompt"] != seed["prompt"]:
                shown.append(other)
            if len(shown) == count:
                break
        yield seed, shown


def _task_of(seed: Seed, task: Task) -> Task:
    return task.part(seed["prompt"], seed["gold"])[1]


def _ask(
    seed: Seed, shown: Sequence[Seed], task: Task, prompt: Prompt, parameters: Mapping[str, Any]
) -> Ask:
    own = _task_of(seed, task)
    messages = fill_messages(
        prompt,
        {"task": own.system, "fields": own.fields},
        examples=show_examples((one["prompt"], one["gold"]) for one in shown) or "-",
        said=fenced(seed["prompt"]),
    )
    ids = tuple(one["id"] for one in shown)
    return Ask(ANSWER, seed["category"], {"messages": messages, **parameters}, (seed["id"],), ids)


def _read_proposal(
    seed: Seed, said: Mapping[str, Any], work: AugmentWork, form: Form, band: Band | None
) -> Proposal:
    """The seed's prompt with the answer; `ValueError` with a short reason."""
    proposal = read_proposal({"prompt": seed["prompt"], "answer": said.get("answer")})
    how: dict[str, Any] = {"task": work.task, "exam": work.exam, "max_chars": _MOST_CHARS}
    wrong = refusal(proposal, known=None, band=band, **how)
    if wrong := wrong or _compare(seed, proposal, work.task, form):
        raise ValueError(wrong)
    return proposal


def _read_answer(proposal: Proposal, said: Mapping[str, Any], form: Form, layout: str) -> str:
    """The answer as it is to be trained on; `ValueError` with a short reason."""
    if form != "reasoned":
        return proposal.answer
    return layout.format(_read_reasoning(said), proposal.answer)


def _compare(seed: Seed, proposal: Proposal, task: Task, form: Form) -> str:
    """Why an answer may not stand beside the seed's own, "" where it may.

    One that says the same is nothing new. Behind solved seeds of a task with fields it has to be
    the seed's own where that is valid; two answers in other words are both right in prose.
    """
    same = task.canonical(proposal.answer) == task.canonical(seed["gold"])
    if form == "answer":
        return SAME if same else ""
    own = _task_of(seed, task)
    valid = bool(own.fields) and not own.check(seed["prompt"], seed["gold"])
    return DISPUTED if valid and not same else ""


def _read_reasoning(said: Mapping[str, Any]) -> str:
    text = said.get("reasoning")
    if not isinstance(text, str) or not text.strip():
        raise ValueError("no_reasoning")
    if len(text) > _MOST_CHARS:
        raise ValueError("too_long")
    personal = kinds_of(find_personal(text))
    if wrong := unsafe_reason(text) or (f"personal:{personal[0]}" if personal else ""):
        raise ValueError(wrong)
    try:
        return clean_text(text.strip())
    except ValueError:
        raise ValueError("unsafe_character") from None


def _as_turns(shown: Sequence[Seed], prompt: str, answer: str, system: str) -> list[dict[str, str]]:
    """What is shown as earlier turns, and then what is asked."""
    turns = [turn for one in shown for turn in dialogue(one["prompt"], one["gold"])]
    told = [{"role": "system", "content": system}] if system else []
    return [*told, *turns, *dialogue(prompt, answer)]
