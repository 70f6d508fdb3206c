"""Evaluation: predictions, metrics, baselines and the gate."""

import curation  # noqa: F401  # first of all: it says how Polars is to hold memory
