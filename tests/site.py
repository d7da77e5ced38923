"""The product as `make run` starts it, on real Memcached and Redis, with a made-up past and the sandbox as APIMIGO."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.single_process import NOT_INHERITED, SingleProcess
from tests.environment import ROOT
from tests.history.__main__ import PASSWORD, USERNAME
from tests.pages import Page
from tests.processes import HOST
from tests.servers import Memcached, Redis

__all__ = ["PASSWORD", "USERNAME", "Site", "site"]

# Seconds; a loaded machine takes a minute for what is 15 s on an idle one
FILLING = 240


@dataclass(frozen=True)
class Site:
    """`pages` are those that its administrator sees."""

    process: SingleProcess
    nodes: tuple[Memcached, ...]
    pages: tuple[Page, ...]

    @property
    def web(self) -> str:
        return f"http://{HOST}:{self.process.web}"


@contextmanager
def site(folder: Path, size: str, *, off: Sequence[str] = (), **variables: str) -> Iterator[Site]:
    """`size`: of the past, as `tests.history` names it. Schedules are those of production: hardly any is due; those
    named by `off` an operator has switched off."""
    with ExitStack() as stack:
        nodes = tuple(Memcached().start() for _ in range(3))
        redis = Redis().start()
        for server in (*nodes, redis):
            stack.callback(server.close)
        addresses = ",".join(node.address for node in nodes)
        process = SingleProcess(
            folder,
            CACHE_URL=f"memcached://{addresses}",
            CELERY_BROKER_URL=redis.url,
            SCHEDULES="standard",
            PUBLIC_URL="",
            **variables,
        )
        process.variables["PUBLIC_URL"] = f"http://{HOST}:{process.web}"
        pages = _fill(process, size, addresses)
        _switch_off(process, off)
        stack.callback(process.close)
        process.start().wait_ready()
        yield Site(process, nodes, pages)


def _switch_off(process: SingleProcess, schedules: Sequence[str]) -> None:
    with closing(sqlite3.connect(process.data / "db.sqlite3")) as database, database:
        for name in schedules:
            done = database.execute("UPDATE django_celery_beat_periodictask SET enabled = 0 WHERE name = ?", [name])
            assert done.rowcount == 1, name


def _fill(process: SingleProcess, size: str, nodes: str) -> tuple[Page, ...]:
    kept = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    done = subprocess.run(
        [sys.executable, "-m", "tests.history", size, nodes],
        cwd=ROOT,
        env={**kept, **process.variables},
        capture_output=True,
        text=True,
        timeout=FILLING,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tuple(Page(**page) for page in json.loads(done.stdout))
