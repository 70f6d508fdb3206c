"""Over-JSON: how often a general question, which is no task, is answered in JSON.

A model that is trained on little but JSON answers begins to answer everything so.
"""

import re

import polars as pl

from curation.json_text import parse_json
from curation.plugins import plugin
from curation.tasks._base import Task
from evaluation.metrics._cases import general_pairs, share

_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*(?:```|$)", re.DOTALL | re.IGNORECASE)
_BEGUN = re.compile(r'\{\s*"|\[\s*[{"]')


@plugin(uses=("general_answers",), better="lower")
def over_json():
    """A metric in 0..1 over answered general cases whose gold is no JSON; None without any."""

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        return share([is_json(said) for gold, said in general_pairs(cases) if not is_json(gold)])

    return metric


def is_json(answer: str) -> bool:
    """Whether it is a JSON object or list, in a fence or not, or the beginning of one."""
    text = answer.strip()
    text = fence[1] if (fence := _FENCE.match(text)) else text
    if _BEGUN.match(text):  # an answer that was cut off, or goes on in prose, is meant as JSON too
        return True
    try:
        return isinstance(parse_json(text), dict | list)
    except ValueError:
        return False
