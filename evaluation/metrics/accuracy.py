"""Accuracy: the share of right labels, for tasks whose answer is one label of a few.

Width, case, spaces and the punctuation around a label do not count: 好评。 is 好评.
"""

from collections import defaultdict

import polars as pl

from curation.plugins import plugin
from curation.tasks._base import Task
from evaluation.metrics._cases import answer_pairs, mean

_AROUND = " .,;:!?\"'()。，、；：！？“”‘’「」《》（）"


@plugin()
def accuracy(*, balanced: bool = False):
    """A metric in 0..1 over task cases; None when there are none.

    `balanced` is the mean over the labels of gold of the share that was found of each (recall), so
    that a rare label counts as much as a frequent one (Brodersen et al., 2010).
    """

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        found: dict[str, list[float]] = defaultdict(list)
        for gold, predicted in answer_pairs(cases):
            label = _label(gold, task)
            found[label if balanced else ""].append(float(_label(predicted, task) == label))
        return mean([sum(right) / len(right) for right in found.values()])

    return metric


def _label(answer: str, task: Task) -> str:
    return task.canonical(answer.strip(_AROUND))
