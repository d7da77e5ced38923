"""A local SMTP server that keeps what it was given and refuses what it is told to."""

import socketserver
import threading
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class ReceivedMail:
    sender: str
    recipients: tuple[str, ...]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        parsed = message_from_bytes(self.content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    def part(self, kind: str) -> str:
        """The text of the first part of that kind: `plain` or `html`."""
        found = self.message.get_body((kind,))
        assert found is not None
        return str(found.get_content())


class SmtpCatcher:
    """Accepts everything unless told otherwise with `refuse`; usable as a context manager."""

    def __init__(self) -> None:
        self.mails: list[ReceivedMail] = []
        self.held: dict[str, bool] = {}
        self.waiting: list[str] = []
        """The commands that have come and are held."""
        self.delay = 0.0
        """Seconds before each reply."""
        self.released = threading.Event()
        self._refusals: defaultdict[str, deque[str]] = defaultdict(deque)
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def refuse(self, command: str, reply: str, times: int = 1) -> None:
        """The next commands of that kind (`MAIL`, `RCPT`, `DATA`, `AUTH`, and `.`, the end of the data)."""
        self._refusals[command].extend([reply] * times)

    def hold(self, command: str, *, dripping: bool = False) -> None:
        """That command, or `220`, the greeting, gets no answer until the end of the catcher, or a byte every 0.05 s."""
        self.held[command] = dripping

    def reply(self, command: str, usual: str) -> str:
        queue = self._refusals[command]
        return queue.popleft() if queue else usual


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, catcher: SmtpCatcher) -> None:
        self.catcher = catcher
        super().__init__(("127.0.0.1", 0), _Conversation)


class _Conversation(socketserver.StreamRequestHandler):
    server: _Server
    timeout = 10

    def handle(self) -> None:
        # Who gave up waiting has gone
        with suppress(OSError):
            self._converse()

    def _converse(self) -> None:
        self._sender, self._recipients = "", list[str]()
        self._hold("220")
        self._say("220 catcher")
        while line := self.rfile.readline():
            text = line.decode().rstrip("\r\n")
            command = text[:4].upper()
            self._hold(command)
            if command == "QUIT":
                return self._say("221 bye")
            self._answer(command, text)
        return None

    def _answer(self, command: str, text: str) -> None:
        if command == "EHLO":
            return self._say("250-catcher\r\n250-8BITMIME\r\n250 AUTH PLAIN")
        if command == "DATA":
            return self._data()
        reply = self.server.catcher.reply(command, "235 in" if command == "AUTH" else "250 ok")
        if reply.startswith("250") and command == "MAIL":
            self._sender, self._recipients = _address(text), []
        if reply.startswith("250") and command == "RCPT":
            self._recipients.append(_address(text))
        return self._say(reply)

    def _data(self) -> None:
        reply = self.server.catcher.reply("DATA", "354 go on")
        self._say(reply)
        if not reply.startswith("354"):
            return
        lines = list(iter(self.rfile.readline, b".\r\n"))
        content = b"".join(line.removeprefix(b".") if line.startswith(b"..") else line for line in lines)
        self._hold(".")
        reply = self.server.catcher.reply(".", "250 kept")
        if reply.startswith("250"):
            self.server.catcher.mails.append(ReceivedMail(self._sender, tuple(self._recipients), content))
        self._say(reply)

    def _hold(self, command: str) -> None:
        catcher = self.server.catcher
        catcher.released.wait(catcher.delay)
        if (dripping := catcher.held.get(command)) is None:
            return
        catcher.waiting.append(command)
        while not catcher.released.wait(0.05 if dripping else None):
            self.wfile.write(b"2")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


def _address(command: str) -> str:
    return command[command.index("<") + 1 : command.index(">")]
