"""What of an incident's untold steps is told now, later, or never: pure rules, no I/O, no clock.

One incident says one thing at a time. Whoever hears of it late hears how it stands, not what happened step by step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from api_service.services.health_rules import RANK, Severity
from api_service.services.incident_facts import Event


class Reason(StrEnum):
    """Why a step is told later or not at all: `Transition.held_by`."""

    MAINTENANCE = "maintenance"
    MUTED = "muted"
    FLAPPING = "flapping"
    # It began and ended while nobody was to hear of it
    OVER = "over"
    # A newer step says more
    SUPERSEDED = "superseded"
    # Nobody is waiting to hear of it
    MINOR = "minor"


# What puts a step off; the other reasons end it
HOLDS = frozenset({Reason.MAINTENANCE, Reason.MUTED})
# How bad it is; the newest of them is how it stands
COURSE = frozenset({Event.OPENED, Event.WORSE, Event.BETTER})
# News only while they are new: not worth telling once a hold is over
OF_THE_MOMENT = frozenset({Event.REMINDED, Event.ESCALATED, Event.ACKNOWLEDGED, Event.MUTED, Event.UNMUTED})


@dataclass(frozen=True, slots=True)
class Step:
    """One pending transition. `severity` is what it leads to; `held_by` and `maintenance` what held it back so far."""

    id: int
    event: Event
    severity: Severity
    held_by: str = ""
    # Name of the window that it happened in
    maintenance: str = ""


@dataclass(frozen=True, slots=True)
class IncidentState:
    """The incident at `now`. `told` is the severity that people heard of last; None when they know nothing of it."""

    is_open: bool
    current: Severity
    told: Severity | None = None
    is_muted: bool = False
    # Name of the maintenance window that covers it now
    maintenance: str = ""


@dataclass(frozen=True, slots=True)
class Telling:
    """Tell the step with this id as `event`, which may differ from its own; `began_in` names the window it began in."""

    step: int
    event: Event
    began_in: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every pending step is in exactly one of the three; the values are the `held_by` to write."""

    tell: tuple[Telling, ...]
    quiet: dict[int, Reason]
    held: dict[int, Reason]


def decide(pending: Sequence[Step], state: IncidentState) -> Verdict:
    """`pending`: all untold steps of one incident, oldest first."""
    told = {one.step: one for one in _told(pending, state)}
    hold = _hold(state)
    held = {step.id: hold for step in pending if hold and step.id not in told and _waits(step, pending, state)}
    rest = (step for step in pending if step.id not in told and step.id not in held)
    over = _passed_unseen(pending, state)
    quiet = {step.id: Reason.OVER if over else _why_quiet(step, hold, is_open=state.is_open) for step in rest}
    return Verdict(tuple(told.values()), quiet, held)


def _hold(state: IncidentState) -> Reason | None:
    if state.maintenance:
        return Reason.MAINTENANCE
    return Reason.MUTED if state.is_muted else None


def _waits(step: Step, pending: Sequence[Step], state: IncidentState) -> bool:
    """Whether the end of the hold may still tell it."""
    return step.event not in OF_THE_MOMENT and (state.is_open or not _passed_unseen(pending, state))


def _passed_unseen(pending: Sequence[Step], state: IncidentState) -> bool:
    """Over, and it began while nobody was to hear of it. What a killed worker left untold is not that."""
    return not state.is_open and state.told is None and any(step.held_by in HOLDS for step in pending)


def _told(pending: Sequence[Step], state: IncidentState) -> Iterator[Telling]:
    if state.maintenance or _passed_unseen(pending, state):
        return
    if not state.is_open:
        yield from (Telling(step.id, step.event) for step in pending if step.event is Event.RESOLVED)
    elif state.is_muted:
        # Who wonders why nothing more is heard; nobody wonders about what nobody knows
        muted = [step for step in pending if step.event is Event.MUTED and state.told is not None]
        yield from (Telling(step.id, step.event) for step in muted[-1:])
    elif state.told is None:
        yield from _first_news(pending)
    else:
        yield from _further_news(pending, state, state.told)


def _first_news(pending: Sequence[Step]) -> Iterator[Telling]:
    """How it stands, as its beginning: the severity may have changed since."""
    course = [step for step in pending if step.event in COURSE]
    flapping = [step for step in pending if step.event is Event.FLAPPING]
    began_in = next((step.maintenance for step in pending if step.event is Event.OPENED), "")
    for step in (flapping or course)[-1:]:
        yield Telling(step.id, Event.FLAPPING if flapping else Event.OPENED, began_in)


def _further_news(pending: Sequence[Step], state: IncidentState, told: Severity) -> Iterator[Telling]:
    """Worse than was said, and what somebody or the monitor did about it; a reminder only when there is no news."""
    news = [step for step in pending if step.event not in COURSE | {Event.REMINDED}]
    if RANK[state.current] > RANK[told]:
        news += [step for step in pending if step.event is Event.WORSE][-1:]
    reminders = [step for step in pending if step.event is Event.REMINDED]
    newest = {step.event: step for step in news or reminders}
    yield from (Telling(step.id, step.event) for step in sorted(newest.values(), key=lambda step: step.id))


def _why_quiet(step: Step, hold: Reason | None, *, is_open: bool) -> Reason:
    if hold:
        return hold
    # The mute of what is over was for the next one
    is_minor = step.event is Event.BETTER or (step.event is Event.UNMUTED and not is_open)
    return Reason.MINOR if is_minor else Reason.SUPERSEDED
