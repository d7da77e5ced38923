"""Test messages, now and past the outbox: does an alert arrive, before one is needed?"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import TypedDict

from workers.alerts import channel_states
from workers.alerts.channels import ChannelError, channel
from workers.alerts.messages import test_message

logger = logging.getLogger(__name__)


class Outcome(TypedDict):
    """`turned_on`: the channel was off, and is not any more."""

    channel: str
    sent: bool
    turned_on: bool
    error: str


def send(addressees: Iterable[str], now: datetime) -> list[Outcome]:
    return [_send(addressee, now) for addressee in addressees]


def _send(addressee: str, now: datetime) -> Outcome:
    """What arrives turns the channel on again; what does not is written down and changes nothing else."""
    try:
        channel(addressee).send(test_message(addressee, now))
    except ChannelError as error:
        logger.warning("The test message to %s did not arrive: %s", addressee, error)
        channel_states.failed(addressee, str(error), now)
        return {"channel": addressee, "sent": False, "turned_on": False, "error": str(error)}
    channel_states.succeeded(addressee, now)
    return {"channel": addressee, "sent": True, "turned_on": channel_states.turn_on(addressee), "error": ""}
