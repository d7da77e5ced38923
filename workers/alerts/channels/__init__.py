"""Where alerts go. A new channel is one file here, one row in TABLE, and its settings.

Importing this costs nothing and needs no settings: they read TABLE to check the names in ALERT_ROUTES.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from django.utils.module_loading import import_string

from api_service.sentences import sentence
from api_service.services.redaction import redact

if TYPE_CHECKING:
    from workers.alerts.messages import Message

TABLE = {
    "slack": "workers.alerts.channels.slack.SlackChannel",
    "sentry": "workers.alerts.channels.sentry.SentryChannel",
    "email": "workers.alerts.channels.email.EmailChannel",
    "webhook": "workers.alerts.channels.webhook.WebhookChannel",
    "apprise": "workers.alerts.channels.apprise.AppriseChannel",
}


# Of one send with all its requests, whatever the other side does. `deliver_due` begins none after BEGUN_WITHIN, and its
# task must have marked what was sent before its time limit ends it: what is not marked is sent again
SEND_SECONDS = 12.0


class ChannelError(Exception):
    """The message did not arrive. `permanent`: sending it again cannot help; `retry_after`: seconds asked for.

    `arrived`: parts of it that did arrive in this attempt, for the next one to leave out.
    """

    def __init__(self, message: str, *, permanent: bool = False, retry_after: float | None = None) -> None:
        super().__init__(redact(message))
        self.permanent = permanent
        self.retry_after = retry_after
        self.arrived: tuple[str, ...] = ()


class Channel(Protocol):
    """Cheap to make, without a connection of its own. `setting` is what an operator sets to turn it on."""

    setting: str

    def __init__(self, address: str) -> None:
        """For one of its addresses: each has deliveries of its own, so one's failure is no other's."""

    @staticmethod
    def addresses() -> list[str]:
        """All that this process can send to; none when it is not configured. Secret: in no row and no log."""

    def send(self, message: Message) -> None:
        """Returns when the other side has accepted the message; any other end is a ChannelError."""


def channel(addressee: str) -> Channel:
    """By "slack" or "email:2", ready to send; a ChannelError when this process cannot."""
    name, _, number = addressee.partition(":")
    if name not in TABLE:
        raise ChannelError(sentence("there is no channel %(name)s") % {"name": repr(name)}, permanent=True)
    kind = _class(name)
    addresses = kind.addresses()
    if int(number or 1) > len(addresses):
        # Not permanent: another worker, or this one after its next start, may have the setting
        text = sentence("%(channel)s is not configured in this process: set %(setting)s")
        raise ChannelError(text % {"channel": addressee, "setting": kind.setting})
    return kind(addresses[int(number or 1) - 1])


def configured() -> list[str]:
    """All addressees: the first has the channel's name, further ones a number behind it."""
    return [addressee for name in TABLE for addressee in addressees(name)]


def addressees(name: str) -> list[str]:
    number = len(_class(name).addresses())
    return [name if one == 1 else f"{name}:{one}" for one in range(1, number + 1)]


def setting_of(name: str) -> str:
    return _class(name).setting


def _class(name: str) -> type[Channel]:
    kind: type[Channel] = import_string(TABLE[name])
    return kind
