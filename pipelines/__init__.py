"""When and what: definitions, automation, the command line and the recipes."""

import curation  # noqa: F401  # first of all: it says how Polars is to hold memory
