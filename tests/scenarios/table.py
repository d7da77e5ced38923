"""The scenarios: what is done, what must be told and how soon, and what must be told once it is over.

`periods` counts health runs of the schedule; confirmation runs in between are the monitor's own.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.rucs import valid_rucs
from tests.scenarios.points import POINTS
from tests.scenarios.world import Event, World

Step = Callable[[World], None]


@dataclass(frozen=True)
class Scenario:
    """`opened` and `closed` are (event, code, node); `messages` at most, to each channel, from beginning to end.

    `allowed` may be told besides: what follows from the trouble depending on when a run meets it.
    """

    name: str
    do: Step
    undo: Step
    opened: frozenset[Event]
    closed: frozenset[Event]
    within: int = 3
    messages: int = 2
    allowed: frozenset[Event] = field(default_factory=frozenset)
    meanwhile: Step = lambda _world: None


def _nothing(_world: World) -> None:
    return None


def _down(letters: str) -> frozenset[Event]:
    return frozenset(("opened", "node_down", letter) for letter in letters)


def _up(letters: str) -> frozenset[Event]:
    return frozenset(("resolved", "node_down", letter) for letter in letters)


def _restarted(letters: str) -> frozenset[Event]:
    """A node that comes back as a new process is empty: one run says so, the next one that it is over."""
    return frozenset((event, "node_restarted", letter) for letter in letters for event in ("opened", "resolved"))


def _nodes(letters: str, act: str) -> Step:
    def step(world: World) -> None:
        for letter in letters:
            getattr(world.nodes["ABC".index(letter)], act)()

    return step


def killed(letters: str) -> Scenario:
    return Scenario(
        f"kill node{'s' if len(letters) > 1 else ''} {', '.join(letters)}",
        _nodes(letters, "kill"),
        _nodes(letters, "restart"),
        _down(letters),
        _up(letters),
        allowed=_restarted(letters),
        messages=4,
    )


def frozen(letter: str) -> Scenario:
    return Scenario(
        f"freeze node {letter} (SIGSTOP)", _nodes(letter, "freeze"), _nodes(letter, "thaw"), _down(letter), _up(letter)
    )


def restarted(letter: str) -> Scenario:
    return Scenario(
        f"restart node {letter} between two runs",
        _nodes(letter, "restart"),
        _nothing,
        frozenset({("opened", "node_restarted", letter)}),
        frozenset({("resolved", "node_restarted", letter)}),
        allowed=_restarted(letter),
    )


def _fill(world: World) -> None:
    """More than the node can hold, so that it evicts what lives on; a run before it gives the rate its beginning."""
    node = world.nodes[2]
    value = b"x" * 50_000
    with socket.create_connection(("127.0.0.1", node.port), timeout=10) as connection:
        for number in range(600):
            connection.sendall(b"set filler-%d 0 600 %d noreply\r\n%s\r\n" % (number, len(value), value))
        connection.sendall(b"version\r\n")
        connection.recv(100)


def evicting() -> Scenario:
    return Scenario(
        "fill node C until it evicts",
        _fill,
        _nothing,
        frozenset({("opened", "evictions_high", "C")}),
        frozenset({("resolved", "evictions_high", "C")}),
        within=8,
        allowed=frozenset({("opened", "memory_high", "C"), ("resolved", "memory_high", "C")}),
        messages=4,
        meanwhile=_fill,
    )


def upstream(name: str, script: str, code: str, calls: int = 8) -> Scenario:
    """APIMIGO answers everything so; users look up until the breaker or the refusal shows it."""

    def breaks(world: World) -> None:
        world.sandbox.switch(script=[script] * 200)
        world.look_up(*valid_rucs(calls))

    def mends(world: World) -> None:
        world.sandbox.reset()
        # The breaker's pause; then a look-up that is answered ends it
        time.sleep(2.5)
        world.look_up(*valid_rucs(2))

    service = "migo"
    related = ("upstream_circuit_open", "upstream_errors", "upstream_refused", "stale_served")
    return Scenario(
        f"APIMIGO: {name}",
        breaks,
        mends,
        frozenset({("opened", code, service)}),
        frozenset({("resolved", code, service)}),
        within=3,
        messages=6,
        allowed=frozenset((event, one, service) for event in ("opened", "resolved", "worse") for one in related),
    )


def killed_sender(point: str) -> Scenario:
    """The worker dies once on the way of the alert; another run, or the broker's second delivery, goes on."""

    def breaks(world: World) -> None:
        world.end("worker")
        world.flag.touch()
        world.start_worker(FAULT_POINT=point, FAULT_FLAG=str(world.flag))
        world.nodes[0].kill()

    def mends(world: World) -> None:
        assert not world.flag.exists(), "the worker never came to this step"
        world.nodes[0].restart()

    return Scenario(
        f"kill -9 the worker {point}",
        breaks,
        mends,
        _down("A"),
        _up("A"),
        # The run lock of the killed run, and the broker's second delivery
        within=90,
        messages=4,
        allowed=_restarted("A"),
    )


SCENARIOS: tuple[Scenario, ...] = (
    *(killed(letters) for letters in ("A", "B", "C", "ABC")),
    *(frozen(letter) for letter in "ABC"),
    *(restarted(letter) for letter in "ABC"),
    evicting(),
    upstream("500 for everything", "500", "upstream_circuit_open"),
    upstream("502 pages of a proxy", "html", "upstream_circuit_open"),
    upstream("silence", "timeout:3", "upstream_circuit_open"),
    upstream("429 for everything", "429:2", "upstream_circuit_open"),
    upstream("token refused", "401", "upstream_refused"),
    upstream("plan refused in words", "refused:Su plan ha vencido.", "upstream_refused"),
    *(killed_sender(point) for point in POINTS),
)
