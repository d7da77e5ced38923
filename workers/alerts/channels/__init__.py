"""Where alerts go. A new channel is one file here, one row in TABLE, and its settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from django.utils.module_loading import import_string

from api_service.services.redaction import redact
from workers.alerts.messages import Message

TABLE = {
    "slack": "workers.alerts.channels.slack.SlackChannel",
    "sentry": "workers.alerts.channels.sentry.SentryChannel",
}


class ChannelError(Exception):
    """The message did not arrive. `permanent`: sending it again cannot help; `retry_after`: seconds asked for."""

    def __init__(self, message: str, *, permanent: bool = False, retry_after: float | None = None) -> None:
        super().__init__(redact(message))
        self.permanent = permanent
        self.retry_after = retry_after


class Channel(Protocol):
    """Cheap to make, without a connection of its own. `setting` is what an operator sets to turn it on."""

    name: str
    setting: str

    @staticmethod
    def configured() -> bool: ...

    def send(self, message: Message) -> None:
        """Returns when the other side has accepted the message; any other end is a ChannelError."""


def channel(name: str) -> Channel:
    """The channel of that name, ready to send; a ChannelError when this process cannot."""
    if name not in TABLE:
        raise ChannelError(f"there is no channel {name!r}", permanent=True)
    found: Channel = import_string(TABLE[name])()
    if not found.configured():
        # Not permanent: another worker, or this one after its next start, may have the setting
        raise ChannelError(f"{name} is not configured in this process: set {found.setting}")
    return found


def configured_channels() -> Iterator[str]:
    return (name for name, path in TABLE.items() if import_string(path).configured())


def setting_of(name: str) -> str:
    setting: str = import_string(TABLE[name]).setting
    return setting
