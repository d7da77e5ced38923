"""E-mail by SMTP, as text and HTML. Each address of ALERT_EMAIL_TO is an addressee: one that bounces stops no other."""

from __future__ import annotations

import smtplib
from contextlib import suppress
from email.utils import parseaddr
from typing import Final

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from api_service.sentences import sentence
from workers.alerts.channels import SEND_SECONDS, ChannelError
from workers.alerts.messages import Message
from workers.alerts.plain import plain
from workers.alerts.problems import Problem
from workers.alerts.timed_smtp import TimedEmailBackend

MAX_SUBJECT: Final = 150
PERMANENT: Final = range(500, 600)


class EmailChannel:
    setting = "ALERT_EMAIL_TO"

    def __init__(self, address: str) -> None:
        self._to = address

    @staticmethod
    def addresses() -> list[str]:
        return list(settings.ALERT_EMAIL_TO) if settings.EMAIL_HOST else []

    def send(self, message: Message) -> None:
        # Named, not Django's default: whatever else the project mails with, an alert leaves by SMTP or fails
        backend = TimedEmailBackend(SEND_SECONDS)
        try:
            backend.send_messages([mail_of(message, self._to)])
        except smtplib.SMTPException as error:
            raise ChannelError(_said(error), permanent=_code(error) in PERMANENT) from error
        except OSError as error:
            raise ChannelError(sentence("no connection to the mail server: %(error)s") % {"error": error}) from error
        finally:
            # Open still when something was refused; how that failed is known already
            with suppress(OSError):
                backend.close()


def mail_of(message: Message, to: str) -> EmailMultiAlternatives:
    """The same Message-ID however often it is sent, and one thread an incident."""
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    headers = {"Message-ID": f"<{message.id}@{domain}>", "Auto-Submitted": "auto-generated"}
    if message.thread:
        headers["References"] = headers["In-Reply-To"] = f"<{message.thread}@{domain}>"
    mail = EmailMultiAlternatives(
        # A line end in a subject would be a header of somebody else's
        plain(message.title, MAX_SUBJECT),
        message.text,
        settings.DEFAULT_FROM_EMAIL,
        [to],
        headers=headers,
    )
    mail.attach_alternative(html_of(message), "text/html")
    return mail


def html_of(message: Message) -> SafeString:
    """Simple enough for every reader: no image, no style sheet, nothing loaded from elsewhere."""
    return format_html(
        '<html><body><h2>{}</h2><p>{}</p><table>{}</table>{}<p><a href="{}">{}</a></p></body></html>',
        message.title,
        message.summary,
        format_html_join("", "<tr><th align='left'>{}</th><td>{}</td></tr>", message.details),
        format_html_join("", "{}", ((_problem(one),) for one in message.problems)),
        message.link,
        message.link_text,
    )


def _problem(problem: Problem) -> SafeString:
    lines = format_html_join("", "<p>{}</p>", ((line,) for line in problem.lines()))
    return format_html(
        "<h3>{}</h3>{}<p>{}<br>{}</p>", problem.title, lines, _link(problem.link), _link(problem.runbook)
    )


def _link(address: str) -> SafeString:
    """A runbook inside the repository has a path, no address: shown, not linked."""
    if address.startswith(("http://", "https://")):
        return format_html('<a href="{}">{}</a>', address, address)
    return format_html("<code>{}</code>", address)


def _code(error: smtplib.SMTPException) -> int:
    """The server's reply code; 0 when it gave none."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return max((code for code, _said in error.recipients.values()), default=0)
    return error.smtp_code if isinstance(error, smtplib.SMTPResponseException) else 0


def _said(error: smtplib.SMTPException) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        said = "; ".join(map(_reply, error.recipients.values()))
        return sentence("the mail server refused the address: %(said)s") % {"said": said}
    if isinstance(error, smtplib.SMTPResponseException):
        return sentence("the mail server refused: %(said)s") % {"said": _reply((error.smtp_code, error.smtp_error))}
    return sentence("the mail server failed: %(error)s") % {"error": error}


def _reply(reply: tuple[int, bytes | str]) -> str:
    code, text = reply
    return plain(f"{code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}", 120)
