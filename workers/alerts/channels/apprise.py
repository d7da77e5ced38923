"""The other hundred services, by Apprise. Each address of ALERT_APPRISE_URLS is an addressee of its own.

Apprise says that it failed, not for how long or for good: whatever fails is tried again for a day, but for an address
that it cannot read at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.conf import settings

from api_service.sentences import sentence
from workers.alerts.channels import SEND_SECONDS, ChannelError
from workers.alerts.messages import Message
from workers.alerts.plain import plain

if TYPE_CHECKING:
    from apprise import Apprise

TYPES: Final = {"healthy": "success", "warning": "warning", "unhealthy": "failure"}
REFUSED: Final = sentence("Apprise could not send: %(said)s")
REFUSED_MUTELY: Final = sentence("Apprise could not send: no reason given")
UNKNOWN: Final = sentence("Apprise knows no service of this address: see ALERT_APPRISE_URLS")
# Some services read these as mentions of everybody, escaped or not, and Apprise helps them
_HARMLESS: Final = str.maketrans({"<": "‹", ">": "›", "@": "＠"})


class AppriseChannel:
    setting = "ALERT_APPRISE_URLS"

    def __init__(self, address: str) -> None:
        self._url = address

    @staticmethod
    def addresses() -> list[str]:
        return list(settings.ALERT_APPRISE_URLS)

    def send(self, message: Message) -> None:
        done = _notifier(self._url).notify(
            body=harmless(message.text),
            title=harmless(message.title),
            notify_type=TYPES[message.severity],
            body_format="text",
        )
        if not done:
            said = plain("; ".join(entry.message for entry in done.logs()), 200)
            raise ChannelError(REFUSED % {"said": said} if said else REFUSED_MUTELY)


def _notifier(url: str) -> Apprise:
    # It loads all its services, which takes 0.3 s and 35 MB: only where it is used
    from apprise import Apprise, AppriseAsset, PersistentStoreMode

    # Nothing on the disk, no plug-in of the machine, no secret in its log, no token carried to another host
    asset = AppriseAsset(
        app_id="cache-worker",
        plugin_paths=[],
        secure_logging=True,
        storage_mode=PersistentStoreMode.MEMORY,
        http_redirects=False,
        service_timeout=SEND_SECONDS,
    )
    notifier = Apprise(asset=asset)
    if not notifier.add(url):
        raise ChannelError(UNKNOWN, permanent=True)
    return notifier


def harmless(text: str) -> str:
    return text.translate(_HARMLESS)
