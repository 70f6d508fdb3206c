"""Glue: Dagster assets, one file a stage."""

import curation  # noqa: F401  # first of all: it says how Polars is to hold memory
