"""Starts the Sentry SDK for web, worker and beat alike: errors, and check-ins of the periodic tasks.

Called by the settings, so that no process can forget it. Alerts about the cache go another way, with a
confirmation: `workers.alerts.channels.sentry`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import sentry_sdk
from celery.signals import before_task_publish
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.scrubber import DEFAULT_DENYLIST, DEFAULT_PII_DENYLIST, EventScrubber

from api_service import request_ids
from api_service.services.redaction import scrub
from workers.schedules import TABLE as SCHEDULES

if TYPE_CHECKING:
    from sentry_sdk.types import Breadcrumb, BreadcrumbHint, Event, Hint

DENYLIST = [
    *DEFAULT_DENYLIST,
    *("api_token", "migo_token", "secret_key", "access_token", "refresh_token", "bearer", "dsn", "sentry_dsn"),
    *("webhook", "webhook_url", "slack_webhook_url", "database_url", "cache_url", "broker_url", "celery_broker_url"),
    *("flower_basic_auth", "result_backend", "x-sentry-auth", "x-api-key"),
]


def init_sentry(dsn: str, *, environment: str, traces_sample_rate: float) -> None:
    """`send_default_pii` stays at its default, off; naming it is deprecated."""
    sentry_sdk.init(
        dsn=dsn,
        environment=environment,
        traces_sample_rate=traces_sample_rate,
        integrations=[DjangoIntegration(), celery_integration()],
        # What is watched is written here, and does not change with the packages installed
        auto_enabling_integrations=False,
        event_scrubber=EventScrubber(denylist=[*DENYLIST], pii_denylist=[*DEFAULT_PII_DENYLIST], recursive=True),
        before_send=_event_without_secrets,
        before_send_transaction=_event_without_secrets,
        before_breadcrumb=_breadcrumb_without_secrets,
        # A local variable can hold a part of a secret, or a person's record: neither is known by value, so
        # redaction cannot find it. The stack and the log lines before it say enough.
        include_local_variables=False,
        max_request_body_size="never",
        max_value_length=4096,
        max_breadcrumbs=50,
        # Trace headers carry the DSN's key: APIMIGO and Slack have no use for them
        trace_propagation_targets=[],
    )
    before_task_publish.connect(without_dsn_key, dispatch_uid="sentry-without-dsn-key")


def celery_integration() -> CeleryIntegration:
    """Our own schedules check in by `workers.watch.checkins`, with margins; those that operators add, by the SDK."""
    ours = [f"^{re.escape(name)}$" for name in SCHEDULES]
    return CeleryIntegration(monitor_beat_tasks=True, exclude_beat_tasks=ours)


def _event_without_secrets(event: Event, _hint: Hint) -> Event:
    """The scrubber goes by key names; a secret in an exception's text or a query string is found by its value."""
    return scrub(_with_request_id(event))


def _with_request_id(event: Event) -> Event:
    """A tag, so that the id in a caller's hand finds the event."""
    if (request_id := request_ids.current()) != request_ids.NONE:
        event.setdefault("tags", {})["request_id"] = request_id
    return event


def _breadcrumb_without_secrets(crumb: Breadcrumb, _hint: BreadcrumbHint) -> Breadcrumb:
    return scrub(crumb)


def without_dsn_key(headers: dict[str, Any] | None = None, **_kwargs: Any) -> None:
    """Baggage names the DSN's key and would stand in the broker in clear; `sentry-trace` still links the runs."""
    for carrier in (headers or {}, (headers or {}).get("headers") or {}):
        carrier.pop("baggage", None)
