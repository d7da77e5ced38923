"""The vocabulary of an incident's life: its events, and what is fixed of each when it happens."""

from __future__ import annotations

from enum import StrEnum
from typing import NotRequired, TypedDict


class Event(StrEnum):
    """As in `Transition.Event`; here without Django, for the rules."""

    OPENED = "opened"
    WORSE = "worse"
    BETTER = "better"
    ESCALATED = "escalated"
    REMINDED = "reminded"
    ACKNOWLEDGED = "acknowledged"
    MUTED = "muted"
    UNMUTED = "unmuted"
    FLAPPING = "flapping"
    SETTLED = "settled"
    RESOLVED = "resolved"


class TransitionFacts(TypedDict):
    """`Transition.facts`: a message sent hours later still tells what was true then. Times are ISO 8601 with offset.

    `severity` is what the step leads to, `previous` what was before it; of a RESOLVED one they are "healthy" and the
    worst that the incident has been. `since` is the first bad run, `opened_at` the run that made it count.
    """

    event: str
    code: str
    node: str
    severity: str
    previous: str
    value: float | str
    limit: float | str
    at: str
    since: str
    opened_at: str
    resolved_at: str | None
    # Since the first bad run; null while it lasts
    duration_seconds: float | None
    # A person, "" for the monitor, and what was said
    by: str
    note: str
    muted_until: str | None
    # How often it came or went lately; 0 when it does not flap
    flaps: int
    # Of a RESOLVED one: it is not known to be well, nobody could judge it for too long. Not in older rows
    unjudged: NotRequired[bool]
    # The maintenance window that it happened in, ""
    maintenance: str
    # Of the newest health sample
    backend: str
    nodes_reachable: int
    nodes_total: int
    sample: int | None
