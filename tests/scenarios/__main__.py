"""Does each scenario to real processes and prints what was expected and what was seen.

python -m tests.scenarios                      all, and 200 quiet runs under load
python -m tests.scenarios "kill node A" freeze those whose names contain one of these
python -m tests.scenarios --quiet-runs 20      fewer quiet runs; 0 for none
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

from tests.scenarios.run import Seen, quiet_runs, run, watcher_scenarios
from tests.scenarios.table import SCENARIOS
from tests.scenarios.world import World


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of names")
    parser.add_argument("--quiet-runs", type=int, default=None, help="health runs under load without trouble (200)")
    options = parser.parse_args(arguments)
    chosen = [one for one in SCENARIOS if not options.names or any(part in one.name for part in options.names)]
    watched = not options.names or any(part in "watcher" for part in options.names)
    quiet = options.quiet_runs if options.quiet_runs is not None else (0 if options.names else 200)
    results: list[Seen] = []
    with World() as world:
        print(Seen.heading(), flush=True)
        steps: list[Callable[[], Seen]] = [partial(run, world, one) for one in chosen]
        steps += watcher_scenarios(world) if watched else []
        steps += [partial(quiet_runs, world, quiet)] if quiet else []
        for step in steps:
            results.append(step())
            print(results[-1].line(), flush=True)
    failed = [seen for seen in results if not seen.ok]
    print(f"\n{len(results) - len(failed)} of {len(results)} as expected", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
