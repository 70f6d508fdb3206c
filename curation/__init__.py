"""Rows: everything that makes, judges, removes and remembers them."""
