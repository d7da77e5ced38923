"""What the Sentry SDK of web, worker and beat sends: errors and traces, and none of what is secret."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.http_catcher import HttpCatcher, parse_envelope
from tests.project_process import run_project

TOKEN = "migo-token-for-tests-4711"
SECRETS = [TOKEN, "slack-secret-0001", "unknown-secret-77", "unknown-secret-88"]
DSN_KEY = "0123456789abcdef0123456789abcdef"


@dataclass
class Reported:
    catcher: HttpCatcher
    task_headers: dict[str, Any]
    log: str

    def items(self, kind: str) -> list[Any]:
        return [item.data for item in self.catcher.sentry_items(kind)]


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reported]:
    """One process that fails with secrets in every place, and all that it sent."""
    with HttpCatcher() as catcher:
        own = {
            "DATA_DIR": str(tmp_path_factory.mktemp("reporter")),
            "SENTRY_DSN": catcher.sentry_dsn,
            "SENTRY_ENVIRONMENT": "lima",
            "SENTRY_TRACES_SAMPLE_RATE": "1",
            # By another name: the SDK leaves calls to Sentry's own host alone
            "SLACK_WEBHOOK_URL": catcher.slack_webhook_url.replace("127.0.0.1", "localhost"),
            "MIGO_TOKEN": TOKEN,
            "OTHER_BEARER": "unknown-secret-77",
            "OTHER_PASSWORD": "unknown-secret-88",
            "CELERY_BROKER_URL": "memory://",
        }
        done = run_project("-m", "tests.integration.alerts.reporter", env={**os.environ, **own}, timeout=100)
        assert done.returncode == 0, done.stderr
        yield Reported(catcher, json.loads(done.stdout), done.stderr)


def test_a_logged_error_arrives_once_with_its_stack_and_environment(reported: Reported) -> None:
    (event,) = reported.items("event")
    assert event["environment"] == "lima"
    assert event["exception"]["values"][0]["type"] == "RuntimeError"
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    assert frames[-1]["function"] == "fail_with_secrets"


def test_a_trace_arrives(reported: Reported) -> None:
    (transaction,) = reported.items("transaction")
    assert transaction["type"] == "transaction"
    assert "[redacted]" in transaction["transaction"]


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_is_in_what_sentry_receives(reported: Reported, secret: str) -> None:
    received = b"".join(request.content for request in reported.catcher.received("/api/")).decode()
    assert len(received) > 1000
    assert secret not in received
    assert secret not in reported.log


def test_texts_keep_all_but_the_secret(reported: Reported) -> None:
    (event,) = reported.items("event")
    assert event["exception"]["values"][0]["value"].startswith("APIMIGO refused token=[redacted]")
    crumbs = [crumb.get("message") for crumb in event["breadcrumbs"]["values"]]
    assert "asked with [redacted]" in crumbs


def test_local_variables_stay_at_home(reported: Reported) -> None:
    (event,) = reported.items("event")
    frames = [frame for value in event["exception"]["values"] for frame in value["stacktrace"]["frames"]]
    assert frames
    assert not any("vars" in frame for frame in frames)


def test_other_services_do_not_learn_the_key_of_the_dsn(reported: Reported) -> None:
    (slack,) = reported.catcher.received("/services/")
    assert "baggage" not in slack.headers
    assert "sentry-trace" not in slack.headers
    assert DSN_KEY not in f"{dict(slack.headers)} {slack.content.decode()}"


def test_task_messages_link_the_trace_without_the_key_of_the_dsn(reported: Reported) -> None:
    assert "sentry-trace" in reported.task_headers
    assert "baggage" not in json.dumps(reported.task_headers)
    assert DSN_KEY not in json.dumps(reported.task_headers)


def test_the_items_of_an_envelope_can_all_be_read(reported: Reported) -> None:
    kinds = {item.type for request in reported.catcher.received("/api/") for item in parse_envelope(request.content)}
    assert {"event", "transaction"} <= kinds
