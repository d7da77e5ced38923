"""All benchmarks but `peers`, or those named first; the options go to each.

    python -m tests.benchmarks
    python -m tests.benchmarks reads cache
    python -m tests.benchmarks reads --sizes 10000 --json

One after the other, each in a process of its own: Django has one database for the life of a process. One that fails
does not stop the next; the exit code tells.
"""

import pkgutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path

NO_BENCHMARKS = {"__main__", "bare_site", "http_load", "kept", "page_weight", "stage"}
# The number of keys makes no difference to these
WITHOUT_SIZES = {"api", "cache", "health", "lookups", "outage", "pages", "peers", "replay", "upstream"}
# Minutes, and packages that nothing else needs
ONLY_BY_NAME = {"peers"}


def main(arguments: Sequence[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(f"{__doc__}\nBenchmarks: {', '.join(available())}")
        return 0
    names, options = split(arguments)
    if unknown := [name for name in names if name not in available()]:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(available())}", file=sys.stderr)
        return 2
    failed = [name for name in names or by_default() if not run(name, options)]
    if failed:
        print(f"FAILED: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def available() -> list[str]:
    found = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return sorted(set(found) - NO_BENCHMARKS)


def by_default() -> list[str]:
    return [name for name in available() if name not in ONLY_BY_NAME]


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names in front, and the options behind them."""
    names = list(takewhile(lambda argument: not argument.startswith("-"), arguments))
    return names, list(arguments[len(names) :])


def run(name: str, options: Sequence[str]) -> bool:
    """The heading goes to the other stream: with --json the output stays JSON."""
    print(f"\n== {name}", file=sys.stderr, flush=True)
    taken = without_sizes(options) if name in WITHOUT_SIZES else options
    return subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}", *taken], check=False).returncode == 0


def without_sizes(options: Iterable[str]) -> list[str]:
    kept: list[str] = []
    rest = iter(options)
    for option in rest:
        if option == "--sizes":
            next(rest, None)
        elif not option.startswith("--sizes="):
            kept.append(option)
    return kept


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
