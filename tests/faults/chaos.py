"""Minutes of kills on a real project: `python -m tests.faults.chaos --minutes 5 --seed 1`.

Prints each kill, what was going on, what came of it, and at the end every promise with its numbers;
the exit code is 0 when all of them held.
"""

import argparse
import sys
from collections import Counter
from functools import partial

from tests.faults._chaos import Chaos, plan_kinds
from tests.faults._deliveries import Deliveries
from tests.faults._project import Site, make_site
from tests.faults._verify import Finding, verify


def main() -> int:
    """Run the chaos that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    say = partial(print, flush=True)
    with make_site() as site:
        chaos = Chaos(site, args.seed, say)
        say(f"seed {args.seed}, {args.minutes:g} minutes of kills, in {site.folder}")
        try:
            findings = run_chaos(chaos, minutes=args.minutes)
        except (TimeoutError, RuntimeError) as error:
            say(f"{chaos.now_s:6.1f} s  STOPPED: {error}\n{site.log_tail()}")
            return 1
    say("\n" + summarise(chaos, findings))
    return 0 if all(held for _, held, _ in findings) else 1


def run_chaos(chaos: Chaos, *, minutes: float) -> list[Finding]:
    """Kill for so many minutes in rounds of every kind, let it settle, and look."""
    deliveries = prepare(chaos.site, chaos.seed)
    deliveries.start()
    try:
        while chaos.now_s < minutes * 60:
            for kind in plan_kinds(chaos.rng):
                if chaos.now_s < minutes * 60:
                    chaos.strike(kind)
    finally:
        deliveries.stop()
    chaos.say(f"{chaos.now_s:6.1f} s  no more kills; waiting until nothing is due")
    reason = chaos.settle(deliveries)
    chaos.say(f"{chaos.now_s:6.1f} s  the sensor says: {reason}")
    return list(verify(chaos.site, deliveries, fresh=True))


def prepare(site: Site, seed: int) -> Deliveries:
    """`dg dev` is up with the sensor on, and the first cases are in the inbox."""
    site.start_server()
    site.switch_sensor_on()
    deliveries = Deliveries(site, seed)
    deliveries.deliver()
    return deliveries


def summarise(chaos: Chaos, findings: list[Finding]) -> str:
    """What was killed how often, and every promise."""
    kinds = Counter(blow.kind for blow in chaos.blows)
    lines = [
        "killed            times",
        *(f"{kind:<16}  {n:>5}" for kind, n in sorted(kinds.items())),
    ]
    lines += [
        "",
        *(f"{'held  ' if held else 'BROKEN'}  {what}: {text}" for what, held, text in findings),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
