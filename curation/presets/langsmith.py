"""Preset `langsmith`: runs of LangSmith with what was said of them.

Three shapes hold a corrected answer: a run with its feedback beside it, of which one has a
`correction` (https://docs.langchain.com/langsmith/feedback-data-format); a run with
`reference_outputs`, as evaluators get it; and a row of an experiment, `{run, example}`, where the
example's `outputs` are the reference. Fields of a run:
https://docs.langchain.com/langsmith/run-data-format.
"""

from typing import Any

from curation.plugins import plugin
from curation.presets._base import Data, Preset, case, listed, said
from curation.presets._texts import answer_text, prompt_text, require


@plugin()
def langsmith() -> Preset:
    """A run, or a row of an experiment; found by the model that its metadata names."""
    return Preset(fits=_fits, read=_read)


def _fits(record: Data) -> bool:
    run = said(record.get("run")) or record
    return "inputs" in run and ("run_type" in run or "outputs" in run)


def _read(record: Data) -> dict[str, Any]:
    run = said(record.get("run")) or record
    predicted = require(answer_text(run.get("outputs")))
    gold = _corrected(run)
    if gold is None:
        gold = answer_text(_reference(record, run))
    if gold == predicted:
        raise ValueError("the answer is the reference: nothing was wrong")
    metadata = said(said(run.get("extra")).get("metadata"))
    return case(prompt_text(run["inputs"]), predicted, gold, metadata.get("ls_model_name"))


def _corrected(run: Data) -> str | None:
    """The first correction of the answer; one of an evaluator's score corrects no answer."""
    given = (feedback.get("correction") for feedback in listed(run.get("feedback")))
    answers = (one for one in given if one is not None and "score" not in said(one))
    return answer_text(next(answers, None))


def _reference(record: Data, run: Data) -> Any:
    example = said(record.get("example"))
    return example.get("outputs", run.get("reference_outputs", record.get("reference_outputs")))
