"""When a service that fails is left alone: the decisions of a circuit breaker, pure.

Closed: every call is allowed, and failures of the service are counted against its calls within a window. Open: none is,
until `open_until`. Half open: that time is over, and a few probes find out; one that is answered closes, one that
fails opens again. Times are Unix seconds, given by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from api_service.services.errors import UpstreamError, UpstreamRateLimited

# Of the calls of a window, so many must have failed: a few failures of a busy hour are no outage
FAILING_SHARE: Final = 0.5
# However long a service asks to be left alone, it is tried again after this
LONGEST_PAUSE: Final = 600.0
# How soon who was refused beside a probe may ask again: by then the probe has told, mostly
PROBE_TELLS: Final = 1.0


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Rules:
    """Opens at `failures` within `window` seconds, 0 never; a probe that told nothing by `probe_seconds` is dead."""

    failures: int = 5
    window: float = 30.0
    open_seconds: float = 30.0
    probes: int = 2
    probe_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Circuit:
    """`probes` are those under way: token -> the time by which they must have told."""

    state: State = State.CLOSED
    calls: int = 0
    failures: int = 0
    window_at: float = 0.0
    open_until: float = 0.0
    reason: str = ""
    probes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """What calls showed of the service. `pause` is for how long it asked to be left alone."""

    answered: int = 0
    failed: int = 0
    pause: float | None = None
    reason: str = ""


def seen_of(error: UpstreamError | None) -> Seen:
    """One attempt. A refusal, a negative answer or a strange one is an answer: the service is there."""
    if error is None or not error.of_service:
        return Seen(answered=1)
    return Seen(failed=1, pause=pause_of(error), reason=f"{error.code}: {error}"[:200])


def together(seen: Sequence[Seen]) -> Seen:
    """What several attempts showed; the reason is that of one that asked for a pause, if any did."""
    failures = sorted((one for one in seen if one.failed), key=lambda one: one.pause or 0.0)
    worst = failures[-1] if failures else Seen()
    return replace(worst, answered=sum(one.answered for one in seen), failed=sum(one.failed for one in seen))


def pause_of(error: UpstreamError) -> float | None:
    """Only "too many requests" is said to all callers; the time that a failure names is for the one who met it."""
    if error.retry_after is None or not isinstance(error, UpstreamRateLimited):
        return None
    return min(error.retry_after, LONGEST_PAUSE)


def must_probe(circuit: Circuit, now: float) -> bool:
    return circuit.state is not State.CLOSED and circuit.open_until <= now


def refused_for(circuit: Circuit, now: float) -> float:
    """Seconds for which nothing is allowed: 0 when closed, or when a probe may be claimed."""
    return max(0.0, circuit.open_until - now) if circuit.state is State.OPEN else 0.0


def may_probe(circuit: Circuit, now: float, rules: Rules) -> bool:
    return must_probe(circuit, now) and len(_alive(circuit, now)) < rules.probes


def with_probe(circuit: Circuit, token: str, now: float, rules: Rules) -> Circuit | None:
    """With one more probe under way; None when as many are already, those that died not counted."""
    if not may_probe(circuit, now, rules):
        return None
    probes = {**_alive(circuit, now), token: now + rules.probe_seconds}
    return replace(circuit, state=State.HALF_OPEN, probes=probes)


def without_probe(circuit: Circuit, token: str) -> Circuit:
    """A probe that was not made: its place is free again."""
    return replace(circuit, probes={name: ends for name, ends in circuit.probes.items() if name != token})


def after(circuit: Circuit, seen: Seen, token: str, now: float, rules: Rules) -> Circuit:
    """What calls showed, those of a probe under its `token`. Calls from before an opening change nothing any more."""
    if token in circuit.probes:
        return _opened(circuit, seen, now, rules) if seen.failed else Circuit()
    if seen.pause is not None:
        return _opened(circuit, seen, now, rules)
    return _counted(circuit, seen, now, rules) if circuit.state is State.CLOSED else circuit


def stricter(one: Circuit, other: Circuit) -> Circuit:
    return other if other.open_until > one.open_until else one


def _alive(circuit: Circuit, now: float) -> dict[str, float]:
    return {name: ends for name, ends in circuit.probes.items() if ends > now}


def _counted(circuit: Circuit, seen: Seen, now: float, rules: Rules) -> Circuit:
    if now - circuit.window_at > rules.window:
        circuit = replace(circuit, calls=0, failures=0, window_at=now)
    failures = circuit.failures + seen.failed
    calls = circuit.calls + seen.failed + seen.answered
    if failures >= rules.failures and failures >= FAILING_SHARE * calls:
        return _opened(circuit, seen, now, rules)
    return replace(circuit, calls=calls, failures=failures, reason=seen.reason or circuit.reason)


def _opened(circuit: Circuit, seen: Seen, now: float, rules: Rules) -> Circuit:
    """Who asked for a pause gets that one, and never cuts a longer one short."""
    until = now + (rules.open_seconds if seen.pause is None else seen.pause)
    return Circuit(State.OPEN, open_until=max(circuit.open_until, until), reason=seen.reason or circuit.reason)
