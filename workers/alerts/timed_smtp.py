"""Mail by SMTP that has ended by a given time, however slowly the server answers.

smtplib has a time-out for each read: a server that answers each of a dozen questions just within it, or drips, holds a
send for minutes, and whoever takes the delivery over sends it again. Here the connection is cut at the end of the
time, in whatever it is: connecting, the TLS handshake, a reply. What was accepted before that has arrived.
"""

from __future__ import annotations

import smtplib
import socket
from contextlib import suppress
from functools import partial
from threading import Timer
from typing import Any

from django.core.mail.backends.smtp import EmailBackend
from django.core.mail.utils import DNS_NAME

from api_service.sentences import sentence
from api_service.services.backends import Deadline
from api_service.services.beside import beside


class TimedEmailBackend(EmailBackend):
    """Django's own for one message, `seconds` from now."""

    def __init__(self, seconds: float) -> None:
        # It replaces nobody's time-out: the cut is what ends it
        super().__init__(fail_silently=False, timeout=seconds)
        self._until = Deadline.after(seconds)

    @property
    def connection_class(self) -> Any:
        return partial(_TimedSSL if self.use_ssl else _TimedPlain, until=self._until)

    def open(self) -> bool | None:
        # What this host is called may be asked of a name server, too: once a process
        beside("mail-own-name", DNS_NAME.get_fqdn).result(self._until.left())
        return super().open()


class _Until:
    """smtplib connects in its constructor: the end has to be known before."""

    def __init__(self, *args: Any, until: Deadline, **kwargs: Any) -> None:
        self._until = until
        super().__init__(*args, **kwargs)


class _Timed(smtplib.SMTP):
    _until: Deadline
    _cut: _Cut | None = None

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ARG002 - smtplib's signature
        connected = _connect(host, port, self._until)
        self._cut = _Cut(connected, self._until)
        return connected

    def close(self) -> None:
        if self._cut is not None:
            self._cut.call_off()
        super().close()


class _TimedPlain(_Until, _Timed):
    pass


class _TimedSSL(_Until, smtplib.SMTP_SSL, _Timed):
    """Its handshake is done over the socket that `_Timed` has connected."""


class _Cut:
    """Shuts a connection down at the deadline unless it is called off.

    By a handle of its own: TLS takes the socket over into another object.
    """

    def __init__(self, connected: socket.socket, until: Deadline) -> None:
        self._handle = connected.dup()
        self._timer = Timer(until.left(), self._act)
        self._timer.daemon = True
        self._timer.start()

    def _act(self) -> None:
        with self._handle, suppress(OSError):
            self._handle.shutdown(socket.SHUT_RDWR)

    def call_off(self) -> None:
        self._timer.cancel()
        self._handle.close()


def _connect(host: str, port: int, until: Deadline) -> socket.socket:
    """To the first of its addresses that answers; one that does not leaves the others their share of the time."""
    found = beside("mail-look-up", partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
    addresses = [(str(address[4][0]), port) for address in found.result(until.left())]
    failure = OSError(sentence("%(host)s has no address") % {"host": host})
    for place, address in enumerate(addresses):
        try:
            connected = socket.create_connection(address, _share(until, len(addresses) - place))
        except OSError as error:
            failure = error
        else:
            # The share was for connecting. Kept for the replies, it would give up on a mail that was accepted
            connected.settimeout(_share(until, 1))
            return connected
    raise failure


def _share(until: Deadline, left: int) -> float:
    """Never 0, which would be no time-out at all but a connection that does not wait."""
    return max(0.05, until.left() / left)
