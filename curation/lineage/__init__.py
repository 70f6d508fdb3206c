"""Lineage: which rows made a model, why a row is or is not there, and what changed since.

One module for each kind of question; these are the functions behind `winnow lineage`.
"""

from curation.lineage.blame import blame_case
from curation.lineage.card import write_card
from curation.lineage.case import trace_case
from curation.lineage.diff import compare_models
from curation.lineage.folders import write_hf_dataset, write_llama_factory
from curation.lineage.leaks import find_model_leaks
from curation.lineage.model import explain_model, find_champion_at
from curation.lineage.openlineage import write_openlineage
from curation.lineage.preferred import training_pairs
from curation.lineage.report import write_report
from curation.lineage.reproduce import (
    check_reproduction,
    compare_reproduction,
    plan_reproduction,
    write_reproduction,
)
from curation.lineage.rows import explain_row, training_ids, training_rows
from curation.lineage.users import find_users

__all__ = [
    "blame_case",
    "check_reproduction",
    "compare_models",
    "compare_reproduction",
    "explain_model",
    "explain_row",
    "find_champion_at",
    "find_model_leaks",
    "find_users",
    "plan_reproduction",
    "trace_case",
    "training_ids",
    "training_pairs",
    "training_rows",
    "write_card",
    "write_hf_dataset",
    "write_llama_factory",
    "write_openlineage",
    "write_report",
    "write_reproduction",
]
