"""What is read of a run whose process was killed, where no schedule brings another one of its kind."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api_service.models import ClearRun, CopyRun, OperationReads, RefillRun, TrackRun, WarmRun
from api_service.models import Run as AnyRun
from api_service.services import copying, refill, track_runs, warming
from tests.integration.admin.conftest import leased

pytestmark = pytest.mark.django_db

NODE = "10.0.4.11:11211"


class Kind(NamedTuple):
    model: type[AnyRun]
    lock: str
    ends: str
    fields: dict[str, Any]


KINDS = (
    Kind(WarmRun, warming.LOCK, "failed", {"limit": 5, "budget": 2}),
    Kind(TrackRun, track_runs.LOCK, "failed", {}),
    # Gone on with by the next health run
    Kind(RefillRun, refill.lock_of(NODE), "waiting", {"node": NODE, "reason": "by_hand"}),
    Kind(ClearRun, "clear:migo", "failed", {"service": "migo", "via": "admin"}),
    Kind(CopyRun, copying.LOCK, "failed", {"purpose": "copy", "source": "a", "target": "b"}),
)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.model.__name__ for kind in KINDS])


def running(kind: Kind, leased_until: datetime) -> AnyRun:
    leased(kind.lock, leased_until)
    row: AnyRun = kind.model._default_manager.create(
        started_at=timezone.now() - timedelta(hours=1), state="running", **kind.fields
    )
    return row


def pages(row: AnyRun) -> list[str]:
    base = f"/admin/api_service/{row._meta.model_name}/"
    return [base, f"{base}{row.pk}/change/", "/admin/dashboard/runs/"]


@each_kind
@pytest.mark.parametrize("page", range(3), ids=["list", "page of the run", "overview"])
def test_who_looks_at_a_run_whose_process_was_killed_reads_so(admin_client: Client, kind: Kind, page: int) -> None:
    held_until = timezone.now() - timedelta(minutes=30)
    row = running(kind, held_until)
    assert admin_client.get(pages(row)[page]).status_code == 200
    row.refresh_from_db()

    assert row.state == kind.ends
    if kind.ends == "failed":
        assert row.error.startswith("interrupted")
        assert row.finished_at == held_until


@pytest.mark.parametrize("page", range(3), ids=["list", "page of the run", "overview"])
def test_pages_are_shown_while_the_database_takes_no_writes(
    admin_client: Client, page: int, caplog: pytest.LogCaptureFixture
) -> None:
    row = running(KINDS[0], timezone.now() - timedelta(minutes=30))

    def refuse(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith(("UPDATE", "INSERT")):
            raise OperationalError("attempt to write a readonly database")
        return execute(sql, *rest)

    with connection.execute_wrapper(refuse):
        assert admin_client.get(pages(row)[page]).status_code == 200
    row.refresh_from_db()

    assert row.state == "running"
    assert "they cannot be closed: attempt to write a readonly database" in caplog.text


@each_kind
def test_a_run_whose_process_holds_its_lease_goes_on_whoever_looks(admin_client: Client, kind: Kind) -> None:
    row = running(kind, timezone.now() + timedelta(seconds=20))
    for page in pages(row):
        assert admin_client.get(page).status_code == 200
    row.refresh_from_db()

    assert (row.state, row.error, row.finished_at) == ("running", "", None)


def test_reads_of_an_operation_that_was_killed_have_no_duration(admin_client: Client) -> None:
    now = timezone.now() - timedelta(hours=1)
    times = {"began_at": now, "over_by": now + timedelta(seconds=42)}
    row = OperationReads.objects.create(node=NODE, operation="copy", hits_before=1, **times)
    page = f"/admin/api_service/operationreads/{row.pk}/change/"
    assert "42.0 s" not in admin_client.get(page).text
    OperationReads.objects.update(hits_after=3, hits=2, misses=0)
    assert "42.0 s" in admin_client.get(page).text


def test_the_overview_takes_fifteen_queries_at_most_while_runs_of_each_kind_are_under_way(admin_client: Client) -> None:
    for kind in KINDS:
        running(kind, timezone.now() + timedelta(seconds=20))
    with CaptureQueriesContext(connection) as queries:
        assert admin_client.get("/admin/dashboard/runs/").status_code == 200
    assert len(queries) <= 15, [query["sql"] for query in queries]
