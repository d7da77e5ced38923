"""One scenario from its beginning to its end, and what was seen of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from tests.scenarios.table import Scenario
from tests.scenarios.world import ROOT, Event, World, difference
from tests.waiting import wait_until

# Seen once more after all was told: nothing may come twice
AFTERWARDS = 3


@dataclass(frozen=True)
class Seen:
    name: str
    expected: str
    seen: str
    detected: str = ""
    recovered: str = ""
    messages: str = ""
    ok: bool = True

    @staticmethod
    def heading() -> str:
        titles = ("scenario", "expected", "seen", "detected after", "recovered after", "messages")
        return "| " + " | ".join(titles) + " | |\n" + "|---" * (len(titles) + 1) + "|"

    def line(self) -> str:
        cells = (self.name, self.expected, self.seen, self.detected, self.recovered, self.messages)
        return "| " + " | ".join(cells) + f" | {'ok' if self.ok else 'NOT AS EXPECTED'} |"


def run(world: World, scenario: Scenario) -> Seen:
    expected = words(scenario.opened | scenario.closed)
    try:
        begin(world)
        scenario.do(world)
        detected = world.until(lambda: told(world, scenario.opened, scenario.meanwhile), scenario.within)
        world.quiet(AFTERWARDS)
        scenario.undo(world)
        recovered = world.until(lambda: told(world, scenario.closed), 15)
        world.quiet(AFTERWARDS)
    except AssertionError as error:
        return Seen(scenario.name, expected, f"{error}"[:300], ok=False)
    missing, extra = difference(scenario.opened | scenario.closed, world.events())
    extra -= scenario.allowed
    hook, slack = world.messages()
    twice = doubled(world)
    ok = (
        not missing
        and not extra
        and not twice
        and max(hook, slack) <= scenario.messages + (point_of_no_return(scenario))
    )
    seen = words(world.events()) + (f"; twice: {words(twice)}" if twice else "")
    return Seen(scenario.name, expected, seen, took(detected), took(recovered), f"{hook} / {slack}", ok)


def point_of_no_return(scenario: Scenario) -> int:
    """Sent but not marked: Slack knows no ids and shows the message again; the webhook's receiver drops it."""
    return int("before it is marked" in scenario.name)


def doubled(world: World) -> set[Event]:
    """The same event of the same incident in two different messages, without the other in between."""
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    found = set()
    for one in world.told():
        event, message = seen.get((one.code, one.node), ("", ""))
        if event == one.event and message != one.message:
            found.add((one.event, one.code, world.name_of(one.node)))
        seen[one.code, one.node] = (one.event, one.message)
    return found


def told(world: World, wanted: Iterable[Event], meanwhile: Callable[[World], None] = lambda _world: None) -> bool:
    meanwhile(world)
    return set(wanted) <= world.events()


def begin(world: World) -> None:
    """From one scenario nothing is left for the next."""
    world.begin_a_night()
    wait_for_health(world)
    world.begin_a_night()


def wait_for_health(world: World) -> None:
    last: list[str] = []

    def calm() -> bool:
        result = world.period() or {}
        last.append("good" if result.get("status") == "healthy" and not result.get("findings") else "bad")
        return last[-2:] == ["good"] * 2

    wait_until(calm, 180, message="a healthy cache before the scenario")


def words(events: Iterable[Event]) -> str:
    return (
        ", ".join(f"{code} {node} {event}" for event, code, node in sorted(events, key=lambda e: (e[1], e[2], e[0])))
        or "nothing"
    )


def took(measured: tuple[int, float]) -> str:
    periods, seconds = measured
    return f"{periods} runs, {seconds:.1f} s"


# --- What no task can tell: the watcher's scenarios ---------------------------------------------------------


# Exit codes of check_beat: Beat does not send; it sends and no run succeeds
NOT_SENT, NOT_RUN = 1, 2


def watcher_scenarios(world: World) -> list[Callable[[], Seen]]:
    beat = world.processes
    return [
        partial(_watched, world, "stop Beat (kill -9)", {NOT_SENT}, _kill(world, "beat"), world.start_beat),
        partial(
            _watched,
            world,
            "freeze Beat (SIGSTOP)",
            {NOT_SENT},
            lambda: beat["beat"].send_signal(signal.SIGSTOP),
            lambda: beat["beat"].send_signal(signal.SIGCONT),
        ),
        partial(_watched, world, "stop the workers", {NOT_RUN}, _kill(world, "worker"), world.start_worker),
        # Beat waits for the broker in the middle of sending: it may look like either
        partial(_watched, world, "cut Redis (kill)", {NOT_SENT, NOT_RUN}, world.redis.kill, world.redis.restart),
    ]


def _kill(world: World, name: str) -> Callable[[], None]:
    return partial(world.end, name, signal.SIGKILL)


def _watched(world: World, name: str, codes: set[int], do: Callable[[], None], undo: Callable[[], object]) -> Seen:
    """`check_beat` fails while it lasts, and passes again; alerts are none of Celery's to give then."""
    expected = f"check_beat: exit {' or '.join(map(str, sorted(codes)))}, then 0"
    if "beat" not in world.processes:
        world.start_beat()
    try:
        wait_until(lambda: _check(world) == 0, 200, interval=1, message="check_beat is content before")
        do()
        began = time.monotonic()
        code = wait_until(lambda: _check(world), 300, interval=2, message="check_beat fails")
        noticed = time.monotonic() - began
        undo()
        began = time.monotonic()
        wait_until(lambda: _check(world) == 0, 300, interval=2, message="check_beat is content again")
        recovered = f"{time.monotonic() - began:.0f} s"
        return Seen(name, expected, f"exit {code}, then 0", f"{noticed:.0f} s", recovered, "-", code in codes)
    except AssertionError as error:
        return Seen(name, expected, str(error)[:300], ok=False)


def _check(world: World) -> int:
    """The schedules of this run are each minute: five would be a night here."""
    return world.manage("check_beat", "--margin", "10").returncode


# --- Nothing happens, and nothing is said --------------------------------------------------------------------


LOAD = """
import sys, time, random, django; django.setup()
from api_service.services.migo_service import MigoAPIService
from tests.rucs import valid_rucs
rucs, service = valid_rucs(300), MigoAPIService()
while True:
    service.consultar_ruc(random.choice(rucs))
"""


def quiet_runs(world: World, number: int) -> Seen:
    """So many health runs, with look-ups from three processes meanwhile: nobody is told of anything."""
    if "beat" in world.processes:
        world.end("beat")
    begin(world)
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "myproject.settings", **world.environment}
    load = [subprocess.Popen([sys.executable, "-c", LOAD], cwd=ROOT, env=environment) for _ in range(3)]
    try:
        states = [(world.run("monitor_cache_health") or {}).get("status", "no result") for _ in range(number)]
        world.run("deliver_alerts")
    finally:
        for process in load:
            process.kill()
            process.wait()
    wrong = [state for state in states if state != "healthy"]
    seen = (
        words(world.events())
        if not wrong
        else f"{len(wrong)} runs not healthy: {sorted(set(wrong))}; {words(world.events())}"
    )
    hook, slack = world.messages()
    return Seen(
        f"{number} quiet runs under load",
        "nothing",
        seen,
        "-",
        "-",
        f"{hook} / {slack}",
        not wrong and hook == slack == 0,
    )
