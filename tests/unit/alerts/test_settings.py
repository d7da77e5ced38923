"""The settings of the channels: read, or refused with what is possible."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from marshmallow import ValidationError

from api_service.services.redaction import Redactor
from myproject import alert_env


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", ("", 25, "", "", False, False)),
        ("smtp://mail.example.pe", ("mail.example.pe", 25, "", "", False, False)),
        ("smtp+tls://ana:p%40ss@mail.example.pe", ("mail.example.pe", 587, "ana", "p@ss", True, False)),
        ("smtps://ana:x@mail.example.pe:2465", ("mail.example.pe", 2465, "ana", "x", False, True)),
    ],
)
def test_an_address_of_a_mail_server_is_djangos_settings(url: str, expected: tuple[object, ...]) -> None:
    alert_env.mail_url(url)
    assert tuple(alert_env.mail_config(url).values()) == expected


@pytest.mark.parametrize("url", ["mail.example.pe", "http://mail.example.pe", "smtp://", "smtp://host:port"])
def test_another_address_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="smtp"):
        alert_env.mail_url(url)


def test_half_a_channel_is_refused() -> None:
    whole: dict[str, Any] = {"mail_url": "", "mail_to": [], "webhook_url": "", "webhook_secret": ""}
    alert_env.check_alerts(**whole)
    for part, named in (
        ({"mail_url": "smtp://a"}, "ALERT_EMAIL_TO"),
        ({"mail_to": ["a@b.pe"]}, "EMAIL_URL"),
        ({"webhook_url": "https://a"}, "ALERT_WEBHOOK_SECRET"),
    ):
        with pytest.raises(ImproperlyConfigured, match=named):
            alert_env.check_alerts(**{**whole, **part})


def test_names_that_are_no_channels_and_addresses_that_are_none_are_refused() -> None:
    with pytest.raises(ValidationError, match="no channel 'fax'"):
        alert_env.alert_routes("fax=warning")
    with pytest.raises(ValidationError, match="no channel 'fax'"):
        alert_env.alert_channels("fax")
    with pytest.raises(ValidationError, match="'ana' is not an e-mail address"):
        alert_env.mail_addresses(["Luis <luis@example.pe>", "ana"])
    with pytest.raises(ValidationError, match="service://"):
        alert_env.apprise_urls("json://host/x telegram")


@pytest.mark.parametrize(("secret", "said"), [("short", "at least 24"), ("whsec_!!!", "base64"), ("whsec_YWJj", "24")])
def test_a_weak_secret_of_the_webhook_is_refused(secret: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        alert_env.webhook_secret(secret)


def test_no_token_of_an_apprise_address_survives_redaction() -> None:
    urls = [
        "tgram://123456789:AAFtokenabc/-1001234567",
        "slack://TokenA1111/TokenB2222/TokenC3333/#general",
        "mailtos://ana:mail-pass-01@smtp.example.pe?to=luis@example.pe",
        "json://hooks.example.pe:8080/path-token-01?+X-Token=header-token-01",
    ]
    redactor = Redactor(alert_env.apprise_secrets(urls))
    secrets = ["AAFtokenabc", "TokenA1111", "TokenC3333", "mail-pass-01", "path-token-01", "header-token-01"]
    said = redactor.redact("; ".join([*urls, "https://api.telegram.org/bot123456789:AAFtokenabc/send", *secrets]))
    assert [secret for secret in secrets if secret in said] == []
    assert "hooks.example.pe:8080" in redactor.redact("no connection to hooks.example.pe:8080")
