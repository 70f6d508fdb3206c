"""Kills of every process of a real project while bad cases arrive: nothing is lost or done twice.

The short form of `make chaos`: each process dies once, in two blows, both during training.
"""

import sys

import pytest

from tests.faults._chaos import Chaos
from tests.faults._project import make_site
from tests.faults._verify import verify
from tests.faults.chaos import prepare, summarise

pytestmark = pytest.mark.slow
# With its watcher gone too, only Linux ends a trainer when its parent dies.
LAST = "watcher+tree" if sys.platform == "linux" else "tree"


def test_nothing_is_lost_or_done_twice_whatever_is_killed():
    with make_site() as site:
        chaos = Chaos(site, seed=1)
        deliveries = prepare(site, seed=1)
        deliveries.start()
        try:
            chaos.strike("trainer+daemon", spread_s=2.0)
            chaos.strike(LAST, spread_s=2.0, restart=False)
        finally:
            deliveries.stop()
        site.start_server()
        assert "no new bad cases" in chaos.settle(deliveries)
        chaos.say(f"{chaos.now_s:6.1f} s  settled")
        findings = list(verify(site, deliveries, fresh=False))
    assert all(held for _, held, _ in findings), summarise(chaos, findings)
