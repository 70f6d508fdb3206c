"""Blind re-answers: the model answers a proposed prompt alone, and has to come to the same answer.

It sees the task, the examples that the call which wrote the row saw, and the prompt; not the bad
cases, nor the answer that was proposed (self-consistency, Wang et al., 2023).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from curation.augmenters._llm_calls import VOTE, Ask
from curation.augmenters._llm_rows import Proposal, read_answer
from curation.augmenters._prompts import Prompt, fill_messages, show_examples
from curation.json_text import fenced
from curation.llm import Reply
from curation.tasks._base import Task

DISPUTED, UNANSWERED = "disputed", "unanswered"


def check_votes(votes: int) -> None:
    """Raise `ValueError` for a number of votes that is none."""
    if votes < 0:
        raise ValueError(f"augment.votes is {votes!r}; 3 is usual, 0 for none")


def ask_votes(
    proposal: Proposal,
    signature: str,
    examples: Sequence[Mapping[str, Any]],
    *,
    prompt: Prompt,
    task: Task,
    votes: int,
    parameters: Mapping[str, Any],
) -> list[Ask]:
    """`votes` questions that differ in their seed, and so are as many calls."""
    own = task.part(proposal.prompt, proposal.answer)[1]
    messages = fill_messages(
        prompt,
        {"task": own.system, "fields": own.fields},
        examples=show_examples((e["prompt"], e["answer"]) for e in examples),
        said=fenced(proposal.prompt),
    )
    ids = tuple(example["id"] for example in examples)
    return [
        Ask(
            VOTE,
            signature,
            {"messages": messages, **parameters, "seed": seed},
            examples=ids,
        )
        for seed in range(1, votes + 1)
    ]


def count_votes(proposal: Proposal, replies: Iterable[Reply], task: Task) -> str:
    """ "" where most of the re-answers equal what was proposed, else `disputed`.

    `unanswered` where there is none, as when the budget is spent.
    """
    answers = [read_answer(reply.text) for reply in replies if not reply.error]
    if not answers:
        return UNANSWERED
    said = Counter(map(task.canonical, answers))
    return "" if said[task.canonical(proposal.answer)] * 2 > said.total() else DISPUTED
