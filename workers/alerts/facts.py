"""What a delivery says, fixed when it is written: a message sent hours later still tells what was true then."""

from __future__ import annotations

from typing import Literal, TypedDict

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


class ChannelOffFacts(TypedDict):
    """Another channel refused for good: somebody has to mend it."""

    kind: Literal["channel_off"]
    at: str
    channel: str
    reason: str


Facts = IncidentsFacts | ChannelOffFacts
