"""Kills of every process of a real project while bad cases arrive: nothing is lost or done twice.

The short form of `make chaos`: the kinds of kill that differ most, once each.
"""

import sys

import pytest

from tests.faults._chaos import Chaos
from tests.faults._project import make_site
from tests.faults._verify import verify
from tests.faults.chaos import prepare, summarise

pytestmark = pytest.mark.slow
# Without the kernel's signal a watcher has no understudy, so elsewhere it is left alone.
BELOW = "watcher+worker" if sys.platform == "linux" else "worker"


def test_nothing_is_lost_or_done_twice_whatever_is_killed():
    with make_site() as site:
        chaos = Chaos(site, seed=1)
        deliveries = prepare(site, seed=1)
        deliveries.start()
        try:
            for kind, after_s in ((f"{BELOW}+daemon", 0.0), ("trainer", 0.0), ("tree", 0.0)):
                chaos.strike(kind, after_s=after_s, spread_s=3.0)
        finally:
            deliveries.stop()
        chaos.say(f"{chaos.now_s:6.1f} s  no more kills")
        assert "no new bad cases" in chaos.settle(deliveries)
        chaos.say(f"{chaos.now_s:6.1f} s  settled")
        findings = list(verify(site, deliveries, fresh=False))
    assert all(held for _, held, _ in findings), summarise(chaos, findings)
