"""One call a seed: which seeds are asked about, and what came of each.

Every seed has a request of its own, so what an earlier version bought is found by what is asked. A
later one asks about seeds that were not there then, and not about those that were left out, so that
building a version again buys nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from curation.augmenters._base import Augmented, AugmentWork
from curation.augmenters._llm_calls import Ask, Calls
from curation.augmenters._llm_opinions import Asked, Opinions
from curation.augmenters._llm_rows import parse_object, proposal_text
from curation.augmenters._llm_types import EXAMPLES
from curation.llm import Reply
from curation.rows import ANSWER, UTTERANCE, digest, make_row

AGAIN = "repeats_a_made_row"
Seed = dict[str, Any]
"""id, lang, category, difficulty, license, prompt, gold (its answer)."""


class Draft(NamedTuple):
    """A row that all checks of its own let through: `edges` are kinds by the ids of its parents."""

    seed: Seed
    asked: Asked
    messages: Sequence[Mapping[str, str]]
    call: str
    edges: Mapping[str, str]
    meta: Mapping[str, str]


def list_seeds(seeds: pl.DataFrame) -> list[Seed]:
    """Single-turn seeds without tools, in an order that does not change when others come."""
    single = seeds.filter(pl.col("n_turns") == 1, pl.col("tools") == "")
    labels = ("id", "lang", "category", "difficulty", "license")
    told = single.select(*labels, prompt=UTTERANCE, gold=ANSWER).drop_nulls("gold")
    return sorted(told.to_dicts(), key=lambda seed: digest(seed["id"]))


def next_seeds(seeds: Sequence[Seed], seed: Seed) -> list[Seed]:
    """The seeds behind one in the order of `list_seeds`, which few new ones change."""
    place = next(n for n, one in enumerate(seeds) if one["id"] == seed["id"])
    return [*seeds[place + 1 :], *seeds[:place]][:EXAMPLES]


def as_examples(seeds: Iterable[Seed]) -> list[dict[str, Any]]:
    """Seeds as the examples of a call."""
    return [{"id": seed["id"], "prompt": seed["prompt"], "answer": seed["gold"]} for seed in seeds]


@dataclass
class SeedBook:
    """Seeds leave as rows with edges, or with the reason why there is none."""

    work: AugmentWork
    calls: Calls
    source: str
    rows: list[dict] = field(default_factory=list)
    edges: list[dict] = field(default_factory=list)
    rejected: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ids = {*self.work.seeds["id"]}
        earlier = self.work.bought
        self._left_out = earlier.known - {*earlier.calls["cases"].explode()}

    def ask(self, asked: Iterable[tuple[Any, Ask]], most: int) -> list[tuple[Any, dict, str]]:
        """What the model said, as an object with the call, about what was bought before and about
        the first `most` of the seeds that are new. A call that failed is written down."""
        chosen = []
        for about, ask in asked:
            bought = self.calls.is_bought(ask)
            if bought or (most > 0 and ask.cases[0] not in self._left_out):
                chosen.append((about, ask))
                most -= not bought
        replies = self.calls.ask([ask for _, ask in chosen])
        told = [(about, reply) for (about, _), reply in zip(chosen, replies, strict=True)]
        return [(about, parse_object(r.text), r.key) for about, r in told if self._is_answer(r)]

    def refuse(self, text: str, reason: str, call: str) -> None:
        """Write down what no row was made of."""
        self.rejected.append({"text": text[:2000], "reason": reason, "call": call})

    def take(self, drafts: Sequence[Draft], opinions: Opinions) -> None:
        """Turn drafts into rows, or refusals by what models say of them."""
        said = opinions.ask([draft.asked for draft in drafts], self.work, self.calls)
        for draft, wrong in zip(drafts, said, strict=True):
            if wrong:
                proposal = draft.asked.proposal
                text = proposal_text({"prompt": proposal.prompt, "answer": proposal.answer})
                self.refuse(text, wrong, draft.call)
            else:
                self._add(draft)

    def _add(self, draft: Draft) -> None:
        """A row that has the labels of its seed."""
        seed, _, messages, call, edges, meta = draft
        row = make_row(
            messages,
            track="domain",
            origin="llm",
            source=self.source,
            license=seed["license"],
            category=seed["category"],
            difficulty=seed["difficulty"],
            created_by=call,
            meta=meta,
        )
        if row["id"] in self._ids:
            return self.refuse(messages[-1]["content"], AGAIN, call)
        self._ids.add(row["id"])
        self.rows.append(row)
        for parent, kind in edges.items():
            self.edges.append({"child": row["id"], "parent": parent, "kind": kind, "call": call})

    def result(self, seeds: Sequence[Seed]) -> Augmented:
        """What all this came to."""
        made, refused = len(self.rows), len(self.rejected)
        usage: dict[str, float] = {**self.calls.usage}
        self.work.report(f"{self.source}: {made} rows made, {refused} refused")
        return Augmented(
            *(self.rows, self.edges, self.rejected, usage, made + refused),
            bought=self.calls.bought,
            known=sorted(seed["id"] for seed in seeds),
        )

    def _is_answer(self, reply: Reply) -> bool:
        if reply.error:
            self.refuse(reply.text, f"call failed: {reply.error}", reply.key)
        return not reply.error
