"""Glue: Dagster assets, one file a stage."""
