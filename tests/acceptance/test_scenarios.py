"""Three scenarios of the suite, so that it stays true between its whole runs: `python -m tests.scenarios`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.processes import require
from tests.scenarios.run import run
from tests.scenarios.table import SCENARIOS
from tests.scenarios.world import World

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("scenarios")]

CHOSEN = (
    "kill nodes A, B, C",
    "freeze node A (SIGSTOP)",
    "kill -9 the worker after the incident, before the message is written",
)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    for program in ("memcached", "redis-server", "postgres"):
        require(program)
    with World() as running:
        yield running


@pytest.mark.parametrize("name", CHOSEN)
def test_the_alert_comes_once_and_so_does_its_end(world: World, name: str) -> None:
    (scenario,) = (one for one in SCENARIOS if one.name == name)
    seen = run(world, scenario)
    assert seen.ok, seen.line()
