"""Feedback on a served answer: what it says, and the bad case that it is of the version."""

import json
import time
from collections.abc import Mapping
from typing import Any

from curation.intake_forms import read_forms
from curation.rows import clean_text
from curation.served import Answer, Feedback

RATINGS = ("up", "down")


def read_feedback(said: Any) -> Feedback:
    """`{"id": …, "corrected": …}` or `{"id": …, "rating": "up" | "down"}`; `ValueError` else."""
    if not isinstance(said, Mapping) or not isinstance(said.get("id"), str):
        raise ValueError('feedback is {"id": "chatcmpl-…", "corrected": "…"} or "rating": "down"')
    corrected, rating = said.get("corrected"), said.get("rating")
    if corrected is None and rating in RATINGS:
        return Feedback(said["id"], time.time(), str(rating))
    if not isinstance(corrected, str) or not corrected.strip():
        given = f"rating is {rating!r:.40}" if corrected is None else "corrected is no text"
        raise ValueError(f'{given}; give "corrected": the right answer, or "rating": up or down')
    return Feedback(said["id"], time.time(), "corrected", clean_text(corrected))


def bad_case_of(answer: Answer, feedback: Feedback) -> list[tuple[str, Any]]:
    """What goes to the inbox, found by the version; without the right answer it waits there.

    Nothing for an answer that was right. Raises `ValueError` for one that failed, and for a
    correction that says what was answered.
    """
    if feedback.rating == "up":
        return []
    if answer.error:
        raise ValueError(f"there was no answer: {answer.error}")
    if feedback.corrected and feedback.corrected == answer.answer.strip():
        raise ValueError("the corrected answer is what was answered")
    turns = [*json.loads(answer.messages), {"role": "assistant", "content": answer.answer}]
    record = {"messages": turns, "model": answer.version_id}
    if feedback.corrected:
        record["correction"] = feedback.corrected
    return [*read_forms([(f"answer:{answer.id}", record)], form="chat")]
