"""The demo's report: every delivered and made row is on a line, quarantined records too."""

import re

from assets.stage import Outcome
from curation.registry import find_version
from curation.store import Store
from pipelines.demo import demo_report


def test_the_lines_of_rows_add_up(built):
    store, rounds = Store(built.store), {}
    for name in ("v1", "v2"):
        version = find_version(store, "tiny", name)
        steps = version.upstream() | {"model_version": version}
        rounds[name] = {step: Outcome(v, recalled=False, seconds=1.0) for step, v in steps.items()}
    report = demo_report(rounds, seconds=1.0)
    part = report.partition("  rows  ")[2].partition("\n\n")[0]
    lines = re.findall(r"^  (\S.*?) +([\d,]+) +([\d,]+)$", part, re.MULTILINE)
    counts = {what: [int(n.replace(",", "")) for n in found] for what, *found in lines}
    came = [counts.pop("delivered"), counts.pop("made by augmentation")]
    assert any(what.startswith("quarantined: ") for what in counts)
    for n in (0, 1):
        assert sum(found[n] for found in came) == sum(found[n] for found in counts.values())
