"""What an alert says, fixed when the change is written: a message sent hours later still tells what was true then."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class FindingFacts(TypedDict):
    code: str
    severity: str
    node: str
    value: float | str
    limit: float | str
    # In an incident: whether the last judged sample still shows it
    current: NotRequired[bool]


class Facts(TypedDict):
    """Times are ISO 8601 with offset."""

    event: str
    severity: str
    previous: str
    backend: str
    findings: list[FindingFacts]
    nodes_reachable: int
    nodes_total: int
    sample: int
    at: str
    opened_at: str
    resolved_at: str | None
    duration_seconds: float | None
