"""Rows: everything that makes, judges, removes and remembers them."""

import os

# Polars' allocator would keep the memory of a step for ten seconds and more, beside that of the
# next one; here it gives it back after one. At once would cost a sixth of the time of a delivery.
# It reads this when Polars is first imported.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:1000,muzzy_decay_ms:0")
