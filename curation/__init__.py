"""Rows: everything that makes, judges, removes and remembers them."""

import os
import sys

# Polars' allocator would keep the memory of a step for ten seconds and more, beside that of the
# next one; here it gives it back after half of one. At once would cost a sixth of the time of a
# delivery. A thread of its own does it, also for those of Polars' threads that are idle (jemalloc
# knows none on macOS). It reads this when Polars is first imported.
_THREAD = "background_thread:true," if sys.platform == "linux" else ""
os.environ.setdefault("_RJEM_MALLOC_CONF", f"{_THREAD}dirty_decay_ms:500,muzzy_decay_ms:0")
