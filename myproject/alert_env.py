"""The settings of the alert channels, read and checked."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterable, Iterator
from email.utils import parseaddr
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.core.exceptions import ValidationError as DjangoValidationError
from django.core.validators import validate_email
from marshmallow import ValidationError

from api_service.services.redaction import SHORTEST_SECRET
from workers.alerts.channels import TABLE
from workers.alerts.routes import BadRoutes, parse_channels, parse_routes

MAIL_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
# Of an address of Apprise, which parts are secret depends on the service; short ones are words
SHORTEST_PART = 8
SHORTEST_WEBHOOK_SECRET = 24


def alert_routes(value: str) -> None:
    try:
        parse_routes(value, TABLE)
    except BadRoutes as error:
        raise ValidationError(str(error)) from error


def alert_channels(value: str) -> None:
    try:
        parse_channels(value, TABLE)
    except BadRoutes as error:
        raise ValidationError(str(error)) from error


def mail_address(value: str) -> None:
    """`ana@example.pe` or `Cache <cache@example.pe>`."""
    try:
        validate_email(parseaddr(value)[1])
    except DjangoValidationError as error:
        raise ValidationError(f"{value!r} is not an e-mail address.") from error


def mail_addresses(values: Iterable[str]) -> None:
    for value in values:
        mail_address(value)


def mail_url(value: str) -> None:
    if not value:
        return
    parts = urlsplit(value)
    if parts.scheme not in MAIL_PORTS or not parts.hostname or not _port_is_readable(value):
        raise ValidationError("Must be smtp://, smtp+tls:// or smtps:// with user:password@host:port.")


def mail_config(url: str) -> dict[str, Any]:
    """Django's EMAIL_… settings: `smtp` in the clear, `smtp+tls` by STARTTLS, `smtps` by TLS from the start."""
    parts = urlsplit(url)
    return {
        "EMAIL_HOST": parts.hostname or "",
        "EMAIL_PORT": parts.port or MAIL_PORTS.get(parts.scheme, 25),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
        "EMAIL_USE_SSL": parts.scheme == "smtps",
    }


def webhook_secret(value: str) -> None:
    """As the standard says: at least 24 bytes, given as base64 after whsec_ or as they are."""
    try:
        key = base64.b64decode(value[6:], validate=True) if value.startswith("whsec_") else value.encode()
    except binascii.Error as error:
        raise ValidationError("What follows whsec_ must be base64.") from error
    if value and len(key) < SHORTEST_WEBHOOK_SECRET:
        raise ValidationError(f"Must be at least {SHORTEST_WEBHOOK_SECRET} bytes long: any random text, or whsec_….")


def apprise_urls(value: str) -> None:
    for url in value.split():
        if not all(url.partition("://")):
            raise ValidationError("Must be addresses of Apprise (service://…), separated by spaces.")


def check_alerts(*, mail_url: str, mail_to: Collection[str], webhook_url: str, webhook_secret: str) -> None:
    """A channel that is half configured would be off without a word."""
    if bool(mail_url) != bool(mail_to):
        raise ImproperlyConfigured("EMAIL_URL and ALERT_EMAIL_TO belong together: set both or none. See .env.example.")
    if webhook_url and not webhook_secret:
        raise ImproperlyConfigured(
            "ALERT_WEBHOOK_URL is set without ALERT_WEBHOOK_SECRET, with which receivers check the signature. "
            "See .env.example."
        )


def apprise_secrets(urls: Iterable[str]) -> list[str]:
    """Each address whole, and each of its parts that may be a token: a service's error names them apart."""
    return [secret for url in urls for secret in _parts_of(url)]


def _parts_of(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    yield url
    if parts.password and len(parts.password) >= SHORTEST_SECRET:
        yield from (parts.password, unquote(parts.password))
    pieces = [*re.split("[@:]", parts.netloc), *parts.path.split("/"), *(text for _, text in parse_qsl(parts.query))]
    yield from (piece for piece in pieces if len(piece) >= SHORTEST_PART and not _is_host(piece))


def _is_host(text: str) -> bool:
    """An ordinary word of a log."""
    return "." in text or text == "localhost"


def _port_is_readable(url: str) -> bool:
    try:
        return urlsplit(url).port is not None or True
    except ValueError:
        return False
