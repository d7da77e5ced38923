"""What a delivery says, fixed when it is written: a message sent hours later still tells what was true then.

Only `arrived` is added later: what an addressee who gets a message in parts has taken, by the channel's own names.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from api_service.services.incident_facts import TransitionFacts


class StepFacts(TransitionFacts):
    """A transition as it is told: `event` may differ from the transition's own."""

    transition: int
    incident: int
    # Name of the maintenance window that it began in, ""
    began_in: str


class IncidentsFacts(TypedDict):
    """`at` is ISO 8601 with offset."""

    kind: Literal["incidents"]
    at: str
    steps: list[StepFacts]
    arrived: NotRequired[list[str]]


class ChannelOffFacts(TypedDict):
    """Another channel refused for good: somebody has to mend it."""

    kind: Literal["channel_off"]
    at: str
    channel: str
    reason: str
    arrived: NotRequired[list[str]]


Facts = IncidentsFacts | ChannelOffFacts
