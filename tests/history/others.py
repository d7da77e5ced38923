"""People, tokens, billing runs, and the tables of the packages that the admin shows beside ours."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, User
from django_celery_beat.models import ClockedSchedule, IntervalSchedule, SolarSchedule
from django_celery_beat.schedulers import ModelEntry

from api_service.models import ApiToken, BillingRow, BillingRun
from myproject.celery import app
from tests.history import Size
from tests.history.series import insert, moment, scattered
from tests.rucs import REAL

LINES = 1000


def fill(size: Size, now: datetime, _nodes: tuple[str, ...]) -> None:
    _people(now)
    _log(size)
    _tokens(now)
    _billing(size, now)
    _periodic_tasks(now)


def _people(now: datetime) -> None:
    Group.objects.get_or_create(name="Soporte")
    for number in range(3):
        User.objects.get_or_create(username=f"persona{number}", defaults={"is_staff": True, "last_login": now})


def _log(size: Size) -> None:
    """What those people did: to one RUC, and tasks that they started."""
    done = ((f"RUC {REAL[0]}", "refresh: found"), ("workers.tasks.warm_frequent_rucs", "limit=50 dry_run=False"))
    who = User.objects.get(username="persona0")
    LogEntry.objects.bulk_create(
        LogEntry(user=who, object_repr=what, action_flag=CHANGE, change_message=said)
        for _again in range(size.incidents)
        for what, said in done
    )


def _tokens(now: datetime) -> None:
    ApiToken.objects.bulk_create(
        ApiToken(
            name=f"facturación {number}",
            prefix=f"k4dicik{number}",
            digest=f"{number}" * 64,
            scopes=["lookup", "operations:read"],
            per_minute=600,
            created_by="mirona",
            created_at=now - timedelta(days=20),
            expires_at=now + timedelta(days=30 * number),
            last_used_at=now - timedelta(minutes=number),
        )
        for number in range(3)
    )


def _billing(size: Size, now: datetime) -> None:
    runs = BillingRun.objects.bulk_create(
        BillingRun(
            uploaded_at=now - timedelta(hours=2 + 20 * number),
            started_at=now - timedelta(hours=2 + 20 * number),
            finished_at=now - timedelta(hours=1 + 20 * number),
            requested_by="mirona",
            via="admin",
            file_name=f"clientes {number}.csv",
            state="done",
            lines=LINES,
            distinct=LINES,
            cached=LINES // 2,
            stored=LINES // 4,
            to_pay=LINES // 4,
            budget=500,
            paid=LINES // 4,
            checked=LINES,
            fit=LINES * 9 // 10,
            unfit=LINES // 10,
            reasons={"not_active": LINES // 10},
        )
        for number in range(max(size.days, 3) - 1, -1, -1)
    )
    for run in runs:
        unfit = "x % 10 = 0"
        insert(
            BillingRow,
            min(LINES, size.keys),
            run=str(run.pk),
            line="x + 1",
            given=f"'' || (20000000000 + {scattered()})",
            ruc=f"'' || (20000000000 + {scattered()})",
            state="'done'",
            fit=f"NOT ({unfit})",
            name="'COMERCIAL DEL SUR S.A.C.'",
            taxpayer_state=f"CASE WHEN {unfit} THEN 'BAJA DE OFICIO' ELSE 'ACTIVO' END",
            taxpayer_condition="'HABIDO'",
            source="'cache'",
            checked_at=moment(now, "3600"),
        )


def _periodic_tasks(now: datetime) -> None:
    """As Beat writes them when it starts, and what somebody may have added beside them."""
    for name, entry in app.conf.beat_schedule.items():
        ModelEntry.from_entry(name, app=app, **entry)
    ClockedSchedule.objects.create(clocked_time=now + timedelta(days=1))
    IntervalSchedule.objects.create(every=10, period="minutes")
    SolarSchedule.objects.create(event="sunrise", latitude=-12.05, longitude=-77.04)
