"""Curves of a run that is still going: a picture beside its log, drawn anew while it speaks.

It stands apart from the stage that trains, so that another way to draw trains nothing again.
"""

import time
from pathlib import Path

from curation.progress import Report
from training.curves import draw_log

PICTURE = "curves.svg"
EVERY_S = 10.0


def drawing(report: Report, work: Path, *, every_s: float = EVERY_S) -> Report:
    """A report that also draws `work/run/log.jsonl` as `work/curves.svg`, at most so often.

    The place of the picture is said once. Reload it in a browser to see it grow.
    """
    drawn = float("-inf")

    def say(line: str) -> None:
        nonlocal drawn
        report(line)
        if time.monotonic() - drawn < every_s:
            return
        if picture := draw_log(work / "run" / "log.jsonl"):
            staged = work / f"{PICTURE}.tmp"
            staged.write_text(picture, encoding="utf-8")
            staged.rename(work / PICTURE)
            if drawn < 0:
                report(f"curves of this run: {work / PICTURE}")
            drawn = time.monotonic()

    return say
