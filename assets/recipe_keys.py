"""What a recipe may hold: its sections with their functions, its kinds of plug-ins, its keys."""

import re

from curation.ensemble import ENSEMBLE
from evaluation.paired import ENOUGH

SECTIONS = {
    "intake": "curation.intake:take_drops",
    "feedback": "curation.error_types:find_error_types",
    "dedup": "curation.dedup:find_duplicates",
    "reference": "curation.scoring:take_reference",
    "ensemble": "curation.verdicts:read_verdicts",
    "guard": "curation.fates:require_share",
    "split": "curation.exam:set_exam",
    "mix": "curation.mix:mix_tracks",
    "texts": "curation.texts:judge_texts",
    "pretrain": "training.pretrain:pretrain_text",
    "demo_model": "training.demo_model:pretrain_demo_model",
    "reward_model": "training.reward:train_reward_model",
    "train": "training.sft:train_sft",
    "preference": "training.preference:train_preference",
    "automation": "curation.rebuilds:rebuild_due",
    "rating": "evaluation.ratings:name_dimensions",
}
"""Section -> the function whose keyword arguments it holds."""

OPTIONAL = (ENSEMBLE, "preference")
"""Sections that may be left out although their functions need something."""

GIVEN = {"task", "report", "out", "now", "system", "signed", "bands", "alike", "read", "engine"}
"""Keyword arguments that the graph supplies; they never stand in a recipe."""
GIVEN_TO = {
    "feedback": {"changes", "stalled", "failed"},
    "preference": {"base_model", "adapter", "method", "revision"},
    "pretrain": {"base_model", "general", "revision"},
    "reward_model": {"base_model"},
    "split": {"templates"},
    "texts": {"priority"},
    "train": {"on_look", "run_name"},
}
"""Those of one section alone."""
BESIDE = {"train": {"report_to"}}
"""Options on which nothing depends that is made, so that no digest holds them."""
FROM_STAGE = {"source", "system", "key", "put_texts", "report"}
"""Those of `read_source`."""

PLUGINS = {
    "task": "curation.tasks",
    "sources": "curation.sources",
    "augment": "curation.augmenters",
    "scorers": "curation.scorers",
    "metrics": "evaluation.metrics",
    "engine": "curation.engines",
}
COUNTS = {
    "few_shot": 3,
    "max_new_tokens": 96,
    "bad_cases": 2000,
    "general_answers": 100,
    "min_cases": ENOUGH,
}
"""Whole numbers of `evaluate`, with their defaults."""
EVALUATE = {"metrics", "main", "slices", *COUNTS}
ARMS = ("base", "few_shot", "champion")
NAME = re.compile("[A-Za-z0-9_][A-Za-z0-9_-]*")
"""A source or scorer becomes part of an asset's key and of its place in the store."""
_OTHERS = ("name", "task", "sources", "augment", "scorers", "keep", "evaluate", "gate", "engine")
KEYS = [*_OTHERS, *SECTIONS]
