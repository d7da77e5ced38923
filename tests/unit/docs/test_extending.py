"""The worked examples of docs/extending.md work, as files of the names that they carry."""

import json
import re
import sys
import types
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

import pytest
from celery.schedules import crontab
from django.test import override_settings
from django.utils import timezone

from api_service.models import SpendHour
from api_service.services import backends, lookup, providers, tracking
from api_service.services.cache_service import APICacheService
from api_service.services.errors import UpstreamAuthRefused
from api_service.services.outcomes import Outcome, Source
from tests.conftest import UseCacheUrl
from tests.http_catcher import HttpCatcher
from tests.servers import Memcached, Redis
from tests.unit.docs.documents import ROOT, fences, text_of
from workers import schedules
from workers.alerts import channels
from workers.alerts.messages import test_message as message_of_a_test

T = TypeVar("T")

DOCUMENT = ROOT / "docs" / "extending.md"
FILE_NAME = re.compile(r"# ((?:api_service|workers)/[\w/]+)\.py\n")


def blocks() -> dict[str, str]:
    """Module name -> source of every Python block."""
    found = {}
    for fence in fences(text_of(DOCUMENT)):
        if fence.language == "python":
            name = FILE_NAME.match(fence.text)
            assert name, f"line {fence.line}: a Python block begins with the name of its file"
            found[name[1].replace("/", ".")] = fence.text
    return found


def rows() -> list[str]:
    """The one-line `text` blocks: rows of tables."""
    texts = [fence.text.strip() for fence in fences(text_of(DOCUMENT)) if fence.language == "text"]
    return [text for text in texts if "\n" not in text]


def row_of(name: str) -> str:
    """The dotted path of the row that begins with `name`."""
    [row] = [row for row in rows() if row.startswith(f'"{name}"')]
    path: str = row.split('"')[3]
    return path


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks as modules that can be imported."""
    for name, source in blocks().items():
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(source, name, "exec"), module.__dict__)


@pytest.fixture
def _providers_built_anew() -> Iterator[None]:
    providers.provider.cache_clear()
    yield
    tracking.flush_now()
    providers.provider.cache_clear()


@pytest.mark.usefixtures("transactional_db", "_providers_built_anew")
def test_the_provider_has_cache_store_and_ledger_by_one_row(
    monkeypatch: pytest.MonkeyPatch, memcached: Memcached, http_catcher: HttpCatcher, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(memcached.url)
    monkeypatch.setitem(providers.TABLE, "nubefact", row_of("nubefact"))
    http_catcher.answer("/factura/F001-1", body=json.dumps({"estado": "aceptada", "total": 10.5}))
    http_catcher.answer("/factura/F001-2", status=404)
    with override_settings(NUBEFACT_BASE_URL=http_catcher.url, NUBEFACT_TOKEN="secret"):
        first = lookup.get("nubefact", "factura", "F001-1")
        again = lookup.get("nubefact", "factura", "F001-1")
        unknown = lookup.get("nubefact", "factura", "F001-2")
        malformed = lookup.get("nubefact", "factura", "?")

    assert (first.source, first.data) == (Source.UPSTREAM, {"estado": "aceptada", "total": "10.5"})
    assert (again.cache, again.source) == (Outcome.HIT, Source.CACHE)
    assert (unknown.data, unknown.reason) == (None, "NO_EXISTE")
    assert malformed.source is Source.VALIDATION
    assert [request.path for request in http_catcher.requests] == ["/factura/F001-1", "/factura/F001-2"]
    assert sum(SpendHour.objects.filter(service="nubefact").values_list("queries", flat=True)) == 2
    assert APICacheService().get("nubefact:factura_F001-1") == {"estado": "aceptada", "total": "10.5"}
    assert APICacheService().clear_service_cache("nubefact")["removed"] == 2


@pytest.mark.usefixtures("_providers_built_anew")
def test_the_provider_reports_a_failure_by_identifier(
    monkeypatch: pytest.MonkeyPatch, http_catcher: HttpCatcher
) -> None:
    monkeypatch.setitem(providers.TABLE, "nubefact", row_of("nubefact"))
    http_catcher.answer("/factura/F001-1", body=b"{}")
    http_catcher.answer("/factura/F001-2", status=403)
    with override_settings(NUBEFACT_BASE_URL=http_catcher.url, NUBEFACT_TOKEN="secret"):
        answers = providers.provider("nubefact").fetch_many("factura", ["F001-1", "F001-2"])

    assert answers["F001-1"] == providers.Found({})
    assert isinstance(answers["F001-2"], UpstreamAuthRefused)


def test_the_cache_server_is_watched_under_its_own_name(
    monkeypatch: pytest.MonkeyPatch, redis_server: Redis, use_cache_url: UseCacheUrl
) -> None:
    from django.conf import settings

    backend = "api_service.services.backends.valkey.ValkeyCache"
    monkeypatch.setitem(backends.TABLE, backend, row_of(backend))
    use_cache_url(f"redis://{redis_server.address}/0")
    with override_settings(CACHES={"default": {**settings.CACHES["default"], "BACKEND": backend}}):
        cache = APICacheService()
        stored = cache.set("nubefact:x_1", 1)
        health = cache.get_health()
        cleared = cache.clear_service_cache("nubefact")

    assert (cache.backend, stored, health["status"], health["backend"]) == ("valkey", True, "healthy", "valkey")
    assert cleared["removed"] == 1


def test_the_channel_sends_by_one_row(monkeypatch: pytest.MonkeyPatch, http_catcher: HttpCatcher) -> None:
    monkeypatch.setitem(channels.TABLE, "pager", row_of("pager"))
    message = message_of_a_test("pager", timezone.now())
    with override_settings(PAGER_URL=f"{http_catcher.url}/hook"):
        ready = channels.configured()
        channels.channel("pager").send(message)
    http_catcher.answer("/hook", status=410)
    with override_settings(PAGER_URL=f"{http_catcher.url}/hook"), pytest.raises(channels.ChannelError) as gone:
        channels.channel("pager").send(message)

    assert "pager" in ready
    assert http_catcher.requests[0].json()["id"] == message.id
    assert gone.value.permanent is True


@pytest.mark.django_db
def test_the_service_of_the_task_counts_a_day() -> None:
    from api_service.services import spend_report  # type: ignore[attr-defined]

    noon = datetime(2026, 1, 28, 17, tzinfo=UTC)
    for hour, purpose, queries in ((noon, "user", 3), (noon + timedelta(hours=1), "user", 2), (noon, "warm", 4)):
        SpendHour.objects.create(hour=hour, service="migo", purpose=purpose, queries=queries)
    SpendHour.objects.create(hour=noon + timedelta(days=1), service="migo", purpose="user", queries=9)

    assert spend_report.of_day(date(2026, 1, 28)) == {"user": 5, "warm": 4}
    assert spend_report.of_day(date(2026, 1, 27)) == {}


def test_the_row_of_the_task_is_a_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    [row] = [row for row in rows() if row.startswith('"report-spend"')]
    table = eval(f"{{{row}}}", {"Schedule": schedules.Schedule, "crontab": crontab})
    monkeypatch.setitem(schedules.TABLE, "report-spend", table["report-spend"])
    entry = schedules.beat_schedule("standard")["report-spend"]

    assert entry["task"] == "workers.tasks.report_spend"
    assert entry["options"] == {"queue": "tracking", "expire_seconds": 3600}
    assert entry["options"]["queue"] in schedules.QUEUES


@pytest.mark.django_db
def test_the_task_of_the_document_runs_and_refuses_wrong_arguments() -> None:
    from api_service.services import spend_report  # type: ignore[attr-defined]
    from workers import tasks

    [source] = [fence.text for fence in fences(text_of(DOCUMENT)) if fence.text.startswith("@shared_task")]
    # Not Celery's own decorator: the task would stay registered for every test after this one
    names = {**vars(tasks), "spend_report": spend_report, "timedelta": timedelta, "shared_task": _not_registered}
    exec(compile(source, "tasks", "exec", dont_inherit=True), names)
    yesterday = timezone.localdate() - timedelta(days=1)
    SpendHour.objects.create(hour=timezone.now() - timedelta(days=1), service="migo", purpose="user", queries=7)

    assert names["report_spend"]() == {"state": "done", "day": yesterday.isoformat(), "paid": {"user": 7}}
    with pytest.raises(ValueError, match="days_back"):
        names["report_spend"](days_back="many")


def _not_registered(**_options: object) -> Callable[[T], T]:
    return lambda task: task
