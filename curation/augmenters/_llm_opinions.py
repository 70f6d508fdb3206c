"""Second opinions on rows that every cheaper check let through: blind re-answers, then a judge.

The judge grades a row by the rubric of the scorer `llm_judge`, in both orders. It sees the row and
nothing of what it was written from, and only those rows whose re-answers agreed.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from curation.augmenters._base import AugmentWork
from curation.augmenters._llm_calls import JUDGE, Ask, Calls
from curation.augmenters._llm_rows import Proposal
from curation.augmenters._llm_votes import UNANSWERED, ask_votes, count_votes
from curation.augmenters._prompts import Prompt
from curation.llm import Reply
from curation.llm_door import check_base_url
from curation.plugins import Secret
from curation.rows import dialogue, make_row
from curation.scorers.llm_judge import grade_requests, mean_grade, read_grade

UNDECIDED = "judge:undecided"


@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """Who grades rows, and from which grade on they stay; without a `model` the writer itself.

    With another model `api_key` and `base_url` are still those of the augmenter unless given.
    """

    model: str = ""
    base_url: str = ""
    api_key: Secret | None = None
    criteria: str = ""
    min_score: float = 4.0
    usd_per_m_prompt: float | None = None
    usd_per_m_completion: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.min_score <= 5:  # noqa: PLR2004  # the grades
            raise ValueError(f"min_score is {self.min_score!r}; grades go from 1 to 5")
        if self.base_url:
            check_base_url(self.base_url)

    def endpoint(self) -> dict[str, Any]:
        """What is other than for the augmenter's calls; `ValueError` where a key is not set."""
        if not self.model:
            return {}
        prices = ("usd_per_m_prompt", "usd_per_m_completion")
        found: dict[str, Any] = {"model": self.model} | {p: getattr(self, p) for p in prices}
        if self.base_url:
            found["base_url"] = self.base_url
        if self.api_key:
            found["api_key"] = os.environ.get(self.api_key)
            if not found["api_key"]:
                name = self.api_key
                raise ValueError(f"the environment variable {name} is not set; export {name}=…")
        return found


class Asked(NamedTuple):
    """A proposal, the type or category it was made for, and the examples that its call showed."""

    proposal: Proposal
    signature: str
    examples: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Opinions:
    """Which opinions are asked for, and how."""

    prompt: Prompt
    parameters: Mapping[str, Any]
    votes: int = 0
    judge: JudgeOptions | None = None

    def ask(self, proposed: Sequence[Asked], work: AugmentWork, calls: Calls) -> list[str]:
        """Of each proposal "" or why it may not stay."""
        said = self._vote(proposed, work, calls) if self.votes else [""] * len(proposed)
        left = [one for one, reason in zip(proposed, said, strict=True) if not reason]
        graded = iter(self._grade(left, work, calls) if self.judge else [""] * len(left))
        return [reason or next(graded) for reason in said]

    def _vote(self, proposed: Sequence[Asked], work: AugmentWork, calls: Calls) -> list[str]:
        asked = [
            ask_votes(
                one.proposal,
                one.signature,
                one.examples,
                prompt=self.prompt,
                task=work.task,
                votes=self.votes,
                parameters=self.parameters,
            )
            for one in proposed
        ]
        replies = iter(calls.ask([ask for some in asked for ask in some]))
        return [
            count_votes(one.proposal, [next(replies) for _ in some], work.task)
            for one, some in zip(proposed, asked, strict=True)
        ]

    def _grade(self, proposed: Sequence[Asked], work: AugmentWork, calls: Calls) -> Iterator[str]:
        assert self.judge
        rows = [_row(one.proposal, work) for one in proposed]
        json_mode = "response_format" in self.parameters
        requests = grade_requests(rows, self.judge.criteria, json_mode=json_mode)
        asked = [
            Ask(JUDGE, proposed[n // 2].signature, request) for n, request in enumerate(requests)
        ]
        replies = calls.ask(asked, by=self.judge.endpoint())
        pairs = zip(replies[::2], replies[1::2], strict=True)
        return (_find_fault(pair, self.judge.min_score) for pair in pairs)


def _row(proposal: Proposal, work: AugmentWork) -> dict[str, Any]:
    system = work.task.part(proposal.prompt, proposal.answer)[1].system
    return make_row(dialogue(proposal.prompt, proposal.answer, system=system))


def _find_fault(replies: Iterable[Reply], least: float) -> str:
    one, other = replies
    if one.lost or other.lost or "budget" in (one.error, other.error):
        return UNANSWERED
    grades = (None if reply.error else read_grade(reply.text) for reply in (one, other))
    score = mean_grade(*grades)
    return UNDECIDED if score is None else f"judge:below_{least:g}" if score < least else ""
