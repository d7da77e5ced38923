"""HEALTHCHECK_PING_URL: which forms are read, what is refused at start, and that no message repeats an address."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from marshmallow import ValidationError

from api_service.services.redaction import Redactor
from myproject.env import Environment, ping_secrets, ping_urls
from workers.watch.pings import address

UUID = "6f0d2b1e-7e57-4c3a-9d7a-000000000001"
URL = f"https://hc-ping.com/{UUID}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        (URL, {"monitor-cache-health": URL}),
        (f"{URL}?create=1", {"monitor-cache-health": f"{URL}?create=1"}),
        (f"clean-up={URL}", {"clean-up": URL}),
        (f" clean-up = {URL} ,\n{URL}/x, ", {"clean-up": URL, "monitor-cache-health": f"{URL}/x"}),
    ],
)
def test_one_address_is_for_the_health_check_and_others_name_their_schedule(text: str, found: dict[str, str]) -> None:
    assert ping_urls(text) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"monitor={URL}", "none of: monitor-cache-health"),
        (f"{URL},monitor-cache-health={URL}", "two addresses"),
        ("clean-up=", "no address"),
        (f"clean-up=hc-ping.com/{UUID}", "http"),
        (UUID, "http"),
    ],
)
def test_what_cannot_be_pinged_is_refused_without_being_repeated(text: str, says: str) -> None:
    with pytest.raises(ValidationError) as error:
        ping_urls(text)
    assert says in str(error.value)
    assert UUID not in str(error.value)


def test_the_address_is_kept_out_of_texts_and_the_name_of_a_schedule_is_not() -> None:
    by_slug = "https://hc-ping.com/ping-key-of-22-letters/monitor-cache-health"
    redactor = Redactor(ping_secrets([URL, by_slug, "https://kuma.pe/api/push/AbCdEf0123?token=0123456789abcdef"]))
    for secret in (URL, f"/{UUID}", by_slug, "ping-key-of-22-letters", "/api/push/AbCdEf0123", "0123456789abcdef"):
        assert "[redacted]" in redactor.redact(f"POST {secret} failed")
    assert redactor.redact("monitor-cache-health is late") == "monitor-cache-health is late"


@pytest.mark.parametrize(
    ("url", "event", "asked"),
    [
        (URL, "start", f"{URL}/start?rid=1"),
        (URL, "", f"{URL}?rid=1"),
        (f"{URL}/", "fail", f"{URL}/fail?rid=1"),
        (f"{URL}?create=1", "start", f"{URL}/start?create=1&rid=1"),
    ],
)
def test_the_event_goes_into_the_path_and_the_run_into_the_query(url: str, event: str, asked: str) -> None:
    assert address(url, event, "1") == asked


def test_a_wrong_setting_is_named_in_one_line_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTHCHECK_PING_URL", f"monitor={URL}")
    env = Environment()
    env.str("HEALTHCHECK_PING_URL", "", validate=ping_urls)
    with pytest.raises(ImproperlyConfigured, match="HEALTHCHECK_PING_URL: Entry 1 is for 'monitor'") as error:
        env.check()
    assert UUID not in str(error.value)
