"""What all error types share while rows are written: the material, and the result so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation.augmenters._base import Augmented, AugmentWork
from curation.augmenters._known import NEAR, REPEATS, KnownRows
from curation.augmenters._llm_band import perplexity_band
from curation.augmenters._llm_calls import ROWS, Ask, Calls
from curation.augmenters._llm_opinions import Asked, Opinions
from curation.augmenters._llm_rows import (
    Proposal,
    parse_rows,
    proposal_text,
    read_proposal,
    refusal,
)
from curation.augmenters._llm_types import CATEGORY, REASONS, Limits, OpenType
from curation.augmenters._prompts import Prompt, ask_for_rows
from curation.error_types import SAMPLE_FAILED
from curation.llm import Reply
from curation.rows import ANSWER, UTTERANCE, dialogue, make_row
from curation.unsafe_text import unsafe_reason


@dataclass(frozen=True)
class Told:
    """How the model is asked: the prompts, the parameters of a call, and its language."""

    language: str
    rows: Prompt
    opinions: Opinions
    parameters: Mapping[str, Any]
    band: Sequence[float] = ()
    source: str = "llm"
    edge: str = "augment_badcase"


@dataclass
class Batch:
    """Proposals come in by call and leave as rows with edges, or refused with the reason."""

    work: AugmentWork
    calls: Calls
    told: Told
    limits: Limits
    rows: list[dict] = field(default_factory=list)
    edges: list[dict] = field(default_factory=list)
    rejected: list[dict] = field(default_factory=list)
    waiting: list[dict] = field(default_factory=list)
    proposed: int = 0

    def __post_init__(self) -> None:
        self._held: set[str] = set()  # error types whose rows wait unless people said something
        seeds = self.work.seeds.select("id", prompt=UTTERANCE, answer=ANSWER)
        cases = self.work.bad_cases
        self.examples = seeds.to_dicts()
        self._band = perplexity_band(self.work, self.told.band)
        self._languages = {*self.work.seeds["lang"]} & {"zh", "en"}
        prompts, answers = [*seeds["prompt"], *cases["prompt"]], [*seeds["answer"], *cases["gold"]]
        self._known = KnownRows(self.work.task, prompts, [answer or "" for answer in answers])
        said = self.work.verdicts.select("id", "verdict", "reason").iter_rows()
        self._verdicts = {i: (v, reason) for i, v, reason in said if v in ("accept", "reject")}

    def read_again(self, types: Sequence[OpenType]) -> None:
        """Take every earlier call whose material is still there.

        A call belongs to the type that the first case it showed is of now. A type that was stopped
        goes on when it has a bad case that was not known then. Where people's sample of a type
        failed, its rows wait until somebody has judged them.
        """
        owner = {case["id"]: t for t in types for case in t.cases}
        cases = {case["id"]: case for t in types for case in t.cases}
        examples = {e["id"]: e for e in self.examples}
        earlier, stalled = self.work.bought, {t.signature: t.stopped for t in types if t.stopped}
        self._held = {s for s, why in stalled.items() if why == SAMPLE_FAILED}
        for line in earlier.calls.filter(kind=ROWS).iter_rows(named=True):
            if cases.keys() >= {*line["cases"]} and examples.keys() >= {*line["examples"]}:
                error_type = owner[line["cases"][0]]
                error_type.shown = [cases[i] for i in line["cases"]]
                error_type.examples = [examples[i] for i in line["examples"]]
                if reply := self.calls.read(self._ask(error_type, {}), line["call"]):
                    error_type.calls += 1
                    self.take([(error_type, reply)])
        for error_type in types:
            if not earlier.known.issuperset(case["id"] for case in error_type.cases):
                error_type.stopped = ""
        for error_type in types:
            error_type.stopped = stalled.get(error_type.signature, error_type.stopped)

    def request(self, error_type: OpenType, per_call: int) -> Ask:
        """The next call of a type: other cases and examples each time, the last refusals named."""
        error_type.next_turn(self.examples, per_call)
        case = error_type.shown[0]
        task = self.work.task.part(case["prompt"], case["gold"])[1]
        messages = ask_for_rows(
            self.told.rows,
            {"task": task.system, "fields": task.fields},
            topic=error_type.told(self.told.language),
            cases=error_type.shown,
            examples=[(e["prompt"], e["answer"]) for e in error_type.examples],
            reasons=dict(error_type.reasons.most_common(REASONS)),
            count=error_type.asked,
            batch=error_type.calls,
        )
        return self._ask(error_type, {"messages": messages, **self.told.parameters})

    def take(self, replies: Sequence[tuple[OpenType, Reply]]) -> None:
        """Turn replies into rows, edges and refusals, and decide which types go on."""
        read = [(*both, self._read(*both)) for both in replies]
        said = iter(self._ask_opinions(read))
        for error_type, reply, found in read:
            before = error_type.made
            for proposal in found:
                if reason := next(said):
                    self._refuse(error_type, _text(proposal), reason, reply.key)
                else:
                    self._accept(error_type, proposal, reply.key)
            if not reply.error:
                self._judge(error_type, error_type.made - before)

    def result(self, types: Sequence[OpenType]) -> Augmented:
        """What all this came to."""
        usage: dict[str, float] = {**self.calls.usage}
        told = [error_type.line() for error_type in types]
        made = (self.rows, self.edges, self.rejected)
        known = sorted({case["id"] for error_type in types for case in error_type.cases})
        more = (self.calls.bought, told, self.waiting, known)
        return Augmented(*made, usage, self.proposed, *more)

    def line(self) -> str:
        """The present state for people."""
        usage = self.calls.usage
        cost = f", ${usage['cost_usd']:.2f}" if usage["cost_usd"] else ""
        made, refused = len(self.rows), len(self.rejected)
        return f"{made} rows made, {refused} refused, {usage['calls']} calls{cost}"

    def _ask(self, error_type: OpenType, request: Mapping[str, Any]) -> Ask:
        cases, examples = (
            tuple(one["id"] for one in some) for some in (error_type.shown, error_type.examples)
        )
        return Ask(ROWS, error_type.signature, request, cases, examples)

    def _read(self, error_type: OpenType, reply: Reply) -> list[Proposal]:
        """The proposals of a call that all checks but the votes let through."""
        error_type.covered |= {case["id"] for case in error_type.shown}
        error_type.reasons.clear()
        if reply.error:
            self.proposed += 1
            error_type.stopped = f"call failed: {reply.error}"
            said = {"text": reply.text[:2000], "reason": error_type.stopped, "call": reply.key}
            self.rejected.append(said)
            return []
        values = parse_rows(reply.text)
        self.proposed += len(values)
        error_type.proposed += len(values)
        error_type.offered = len(values)
        found: list[Proposal] = []
        for value in values:
            room = error_type.quota - error_type.made - len(found)
            if proposal := self._check(error_type, value, reply.key, room):
                self._known.add(proposal.prompt, proposal.answer)
                found.append(proposal)
        return found

    def _check(self, error_type: OpenType, value: Any, call: str, room: int) -> Proposal | None:
        """The proposal in a value, or None when it was refused."""
        try:
            proposal = read_proposal(value)
            reason = refusal(
                proposal,
                task=self.work.task,
                known=self._known,
                exam=self.work.exam,
                band=self._band,
                languages=self._languages,
            )
        except ValueError as error:
            proposal, reason = None, str(error)
        reason = reason or ("" if room > 0 else "over_quota")
        if reason:
            self._refuse(error_type, proposal_text(value), reason, call)
        return None if reason else proposal

    def _ask_opinions(self, read: Sequence[tuple[OpenType, Reply, list[Proposal]]]) -> list[str]:
        """Of each proposal "" or why what models say of it speaks against it."""
        asked = [
            Asked(proposal, error_type.signature, error_type.examples)
            for error_type, _, found in read
            for proposal in found
        ]
        return self.told.opinions.ask(asked, self.work, self.calls)

    def _judge(self, error_type: OpenType, good: int) -> None:
        """Whether the type goes on after a call of which so many rows were good."""
        reasons = error_type.reasons
        repeated = reasons[REPEATS] + reasons[NEAR]
        error_type.repeated += repeated
        why = ", ".join(f"{reason} x{n}" for reason, n in reasons.most_common(3))
        name = error_type.lesson["name"]
        if stopped := error_type.judge_call(good, repeated, self.limits):
            self.work.report(f"{name}: stopped, {stopped} ({why})")
        elif waits := error_type.look_at_first(self._verdicts, self.limits):
            self.work.report(f"{name}: {waits}")

    def _accept(self, error_type: OpenType, proposal: Proposal, call: str) -> None:
        said = {
            # A signature may name a slot that a bad case made up.
            error_type.kind: unsafe_reason(error_type.signature) or error_type.signature,
            "relation": proposal.relation,
            "prompt": self.told.rows.label,
        }
        task = self.work.task.part(proposal.prompt, proposal.answer)[1]
        row = make_row(
            dialogue(proposal.prompt, proposal.answer, system=task.system),
            track="domain",
            origin="llm",
            source=self.told.source,
            category=error_type.signature if error_type.kind == CATEGORY else "",
            created_by=call,
            meta={name: value for name, value in said.items() if value},
        )
        error_type.made += 1
        error_type.first += [row["id"]] if error_type.calls == 1 else []
        if error_type.signature in self._held and row["id"] not in self._verdicts:
            error_type.waiting += 1
            self.waiting.append(row)
        else:
            self.rows.append(row)
        shown, parent = error_type.shown, proposal.parent
        for case in [shown[parent - 1]] if 0 < parent <= len(shown) else shown:
            edge = {"child": row["id"], "parent": case["row_id"] or case["id"], "call": call}
            self.edges.append(edge | {"kind": self.told.edge})

    def _refuse(self, error_type: OpenType, text: str, reason: str, call: str) -> None:
        error_type.reasons[reason[:80]] += 1
        self.rejected.append({"text": text, "reason": reason, "call": call})


def _text(proposal: Proposal) -> str:
    return proposal_text({"prompt": proposal.prompt, "answer": proposal.answer})
