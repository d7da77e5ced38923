"""The stage of a benchmark: real servers, the project's settings on a database of its own, and a table of ratios.

    with stage(database="postgres", memcached=1) as scene: ...

Everything the developer has stays as it is. Trust the ratios, not the times: both sides of one are from the same run.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import django

from tests.benchmarks.kept import KeptPostgres
from tests.servers import Memcached, Postgres

SIZES = (10_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Line:
    """`value` in `unit`; `ratio` to what `against` names, `target` is the most that it may be."""

    what: str
    value: float
    unit: str
    ratio: float | None = None
    against: str = ""
    target: float | None = None

    @property
    def verdict(self) -> str:
        if self.ratio is None or self.target is None:
            return ""
        return "within" if self.ratio <= self.target else "ABOVE"


@dataclass(frozen=True)
class Scene:
    database_url: str
    memcached: Sequence[Memcached]


@contextmanager
def stage(
    *, database: str = "sqlite", memcached: int = 1, memory: int = 2048, keep: Path | None = None
) -> Iterator[Scene]:
    """Django is set up and migrated on a `database` ("sqlite", "postgres") and that many memcached nodes.

    The database is new, or that of the folder `keep`, where it stays.
    """
    with ExitStack() as stack:
        data = str(keep) if keep else stack.enter_context(TemporaryDirectory())
        Path(data).mkdir(parents=True, exist_ok=True)
        nodes = [Memcached(memory=memory).start() for _ in range(memcached)]
        for node in nodes:
            stack.callback(node.close)
        url = _postgres(stack, keep) if database == "postgres" else f"sqlite:///{Path(data) / 'benchmark.sqlite3'}"
        os.environ.update(
            CACHE_URL=f"memcached://{','.join(node.address for node in nodes)}" if nodes else "locmem://",
            DATABASE_URL=url,
            DATA_DIR=data,
            SECRET_KEY="benchmark",
            READ_FLUSH_SECONDS="0",
            LOG_LEVEL="ERROR",
        )
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myproject.settings")
        django.setup()
        from django.core.management import call_command
        from django.db import connections

        stack.callback(connections.close_all)
        call_command("migrate", verbosity=0)
        yield Scene(url, nodes)


def _postgres(stack: ExitStack, keep: Path | None) -> str:
    server = (KeptPostgres(keep / "postgres") if keep else Postgres()).start()
    stack.callback(server.close)
    return server.new_database()


def resident() -> float:
    """MiB of this process now; what it needs at most from now on is `peak`."""
    # Forgets the highest mark of before: what prepared the measured part is none of it
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def peak() -> float:
    """MiB that this process needed at most since `resident` was called."""
    return _memory("VmHWM")


def _memory(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


def seconds(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start


def arguments(description: str | None, **defaults: str) -> argparse.Namespace:
    """`--json`, `--sizes 10000,100000`, and a text option for each of `defaults`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of keys, separated by commas")
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", default=default)
    parsed = parser.parse_args()
    parsed.sizes = [int(size) for size in parsed.sizes.split(",")]
    return parsed


def show(lines: Sequence[Line], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(line) | {"verdict": line.verdict} for line in lines], indent=2))
        return
    width = max(len(line.what) for line in lines)
    for line in lines:
        ratio = "" if line.ratio is None else f"{line.ratio:8.2f} x {line.against}"
        target = "" if line.target is None else f" (at most {line.target:g}: {line.verdict})"
        print(f"{line.what:{width}}  {line.value:12.3f} {line.unit:9}{ratio}{target}")
