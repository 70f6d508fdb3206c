"""Training: from kept rows to a tested adapter."""

import curation  # noqa: F401  # first of all: it says how Polars is to hold memory
