"""Every fault at every point: `python -m tests.faults.storm`, the long form of the fault suite.

It prints a line for each scenario and kind of fault and ends with 1 when anything was found.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults._graph import SCENARIOS
from tests.faults._plan import KINDS, try_all, try_race
from tests.faults._races import RACES, TIMES
from tests.faults._sweep import Sweeper


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, help="at most so many faults of each kind")
    parser.add_argument("--only", choices=SCENARIOS, help="one scenario")
    parser.add_argument("--kind", choices=KINDS, help="one kind of fault")
    asked = parser.parse_args()
    start, found = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="storm-") as folder:
        sweeper = Sweeper(Path(folder))
        for scenario in [asked.only] if asked.only else SCENARIOS:
            for kind in [asked.kind] if asked.kind else KINDS:
                problems, (line,) = try_all(sweeper, scenario, kind, most=asked.most)
                line = f"{time.monotonic() - start:7.1f} s  {line}"
                print(line, *problems[:20], sep="\n    ", flush=True)
                found += len(problems)
        for race in () if asked.only or asked.kind else RACES:
            problems, line = try_race(sweeper, race, TIMES.get(race, 20), enough=True)
            line = f"{time.monotonic() - start:7.1f} s  {line}"
            print(line, *problems[:20], sep="\n    ", flush=True)
            found += len(problems)
        sweeper.close()
    print(f"{found:,} problems")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
