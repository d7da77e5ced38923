"""Who may read /metrics, and in which form."""

from collections.abc import Callable

import pytest
from django.test import Client
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from pytest_django import Settings

from myproject.security import over_https
from tests.integration.metrics.conftest import TOKEN, Samples


def test_without_a_token_in_the_settings_it_is_closed_to_everybody(settings: Settings) -> None:
    settings.METRICS_TOKEN = ""
    replies = [Client(headers=headers).get("/metrics") for headers in ({}, {"Authorization": "Bearer "})]
    assert [reply.status_code for reply in replies] == [403, 403]
    assert replies[0].json()["code"] == "metrics_closed"
    assert "METRICS_TOKEN" in replies[0].json()["next_step"]


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN, "Bearer ñ"]
)
def test_whoever_has_not_the_token_is_told_how_to_send_it(settings: Settings, header: str) -> None:
    settings.METRICS_TOKEN, settings.API_TOKEN = TOKEN, "token-of-look-ups"
    reply = Client(headers={"Authorization": header}).get("/metrics")
    assert (reply.status_code, reply.headers["WWW-Authenticate"]) == (401, 'Bearer realm="metrics"')
    assert b"cache_worker" not in reply.content


def test_the_token_of_look_ups_does_not_open_it(settings: Settings) -> None:
    settings.METRICS_TOKEN, settings.API_TOKEN = TOKEN, "token-of-look-ups"
    assert Client(headers={"Authorization": "Bearer token-of-look-ups"}).get("/metrics").status_code == 401


def test_it_cannot_be_posted_to_and_is_not_sent_to_tls(settings: Settings, scrape: Callable[[], Samples]) -> None:
    for name, value in over_https(hsts_seconds=60).items():
        setattr(settings, name, value)
    assert Client(headers={"Authorization": f"Bearer {TOKEN}"}).post("/metrics", secure=True).status_code == 405
    assert scrape().names()


def test_who_asks_for_openmetrics_gets_it(scrape: Callable[[], Samples]) -> None:
    scrape()
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/openmetrics-text; version=1.0.0"}
    reply = Client(headers=headers).get("/metrics")
    families = {family.name: family.type for family in text_string_to_metric_families(reply.content.decode())}
    assert reply.headers["Content-Type"].startswith("application/openmetrics-text")
    assert reply.headers["Cache-Control"] == "no-store"
    assert (families["cache_worker_lookups"], families["cache_worker_node_up"]) == ("counter", "gauge")


def test_who_asks_for_a_version_that_is_none_gets_the_plain_text(scrape: Callable[[], Samples]) -> None:
    scrape()
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/openmetrics-text; version=x"}
    reply = Client(headers=headers).get("/metrics")
    assert (reply.status_code, reply.headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
