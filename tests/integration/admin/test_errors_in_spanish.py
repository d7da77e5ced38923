"""Why something failed, on the pages and in the alerts of those who chose Spanish."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, NamedTuple

import pytest
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from api_service import models
from api_service.services import billing_runs, copying, node_checks, track_runs
from api_service.services.budget_rules import BudgetExhausted
from api_service.services.errors import UpstreamTimeout
from api_service.services.leases import stopped_by
from workers.alerts import channel_states

pytestmark = pytest.mark.django_db

NODE: Final = "10.0.4.11:11211"
SPANISH, ENGLISH = {"accept-language": "es"}, {"accept-language": "en"}
BROKEN: Final = f"{NODE}: {node_checks.STILL_WAITS}; 10.0.4.12:11211: OSError: [Errno 113] No route to host"
BROKEN_IN_SPANISH: Final = f"{NODE}: una prueba anterior sigue esperando su respuesta; 10.0.4.12:11211: OSError: "


class Failed(NamedTuple):
    """A row that says why, something of what it says, and that in Spanish."""

    model: type[Model]
    fields: dict[str, Any]
    english: str
    spanish: str


KILLED: Final = track_runs.INTERRUPTED
SPENT: Final = str(BudgetExhausted("day", 500, 0))
STOPPED: Final = stopped_by(OSError("disk full"))
SLOW: Final = f"{UpstreamTimeout.code}: no answer in time (ReadTimeout)"
MUTE: Final = f"NobodyHears: {channel_states.why_off('no connection (ConnectionError)')}"
REFUSED: Final = "the mail server refused: 550 No existe"
COPY: Final = {"purpose": "copy", "source": "a", "target": "b"}
LIST: Final = {"via": "admin", "file_name": "a.csv", "state": "paused", "lines": 1, "distinct": 1}

ROWS: Final = {
    "inventory": Failed(models.TrackRun, {"error": BROKEN}, node_checks.STILL_WAITS, BROKEN_IN_SPANISH),
    "killed": Failed(models.TrackRun, {"error": KILLED}, KILLED, "se interrumpió: su worker se detuvo antes del final"),
    "warming": Failed(
        models.WarmRun,
        {"limit": 5, "budget": 2, "error": SPENT},
        SPENT,
        "se alcanzó el límite de 500 consultas pagadas por día",
    ),
    "copy": Failed(
        models.CopyRun,
        {**COPY, "error": copying.INTERRUPTED},
        copying.INTERRUPTED,
        "se interrumpió: su proceso se detuvo antes del final; copie de nuevo",
    ),
    "clearing": Failed(
        models.ClearRun,
        {"service": "migo", "via": "admin", "error": STOPPED},
        STOPPED,
        "se detuvo: OSError",
    ),
    "billing": Failed(
        models.BillingRun,
        {**LIST, "error": billing_runs.NOT_TAKEN},
        billing_runs.NOT_TAKEN,
        "ningún worker la tomó a tiempo; continúela",
    ),
    "circuit": Failed(
        models.UpstreamCircuit,
        {"service": "migo", "state": "open", "reason": SLOW},
        SLOW,
        "upstream_timeout: sin respuesta a tiempo (ReadTimeout)",
    ),
    "schedule": Failed(
        models.ScheduleRun,
        {"name": "deliver-alerts", "task": "a.task", "error": MUTE},
        MUTE,
        "NobodyHears: el canal está apagado: sin conexión (ConnectionError)",
    ),
    "channel": Failed(
        models.ChannelState,
        {"name": "email", "reason": REFUSED, "error": REFUSED},
        REFUSED,
        "el servidor de correo rechazó el envío: 550 No existe",
    ),
}


def made(kind: str) -> Model:
    model, fields = ROWS[kind].model, dict(ROWS[kind].fields)
    now = timezone.now()
    if issubclass(model, models.Run):
        fields |= {"started_at": now - timedelta(minutes=2), "finished_at": now, "state": "failed"}
    if model is models.BillingRun:
        fields["uploaded_at"] = now
    row: Model = model._default_manager.create(**fields)
    return row


@pytest.mark.parametrize("kind", ROWS)
def test_a_page_says_why_in_the_language_of_who_reads_it(admin_client: Client, kind: str) -> None:
    row, (_model, _fields, english, spanish) = made(kind), ROWS[kind]
    url = reverse(f"admin:api_service_{row._meta.model_name}_change", args=[row.pk])
    page = admin_client.get(url, headers=SPANISH).text
    assert escape(spanish) in page
    assert escape(english) not in page
    assert escape(english) in admin_client.get(url, headers=ENGLISH).text


def test_what_is_of_others_is_marked_as_english_within_it(admin_client: Client) -> None:
    row = made("inventory")
    page = admin_client.get(reverse("admin:api_service_trackrun_change", args=[row.pk]), headers=SPANISH).text
    assert f'{BROKEN_IN_SPANISH}<span lang="en">[Errno 113] No route to host</span>' in page


def test_the_overview_does_so_too(admin_client: Client) -> None:
    kinds = ("inventory", "warming", "copy", "clearing")
    for kind in kinds:
        made(kind)
    page = admin_client.get("/admin/dashboard/runs/", headers=SPANISH).text
    for _model, _fields, english, spanish in (ROWS[kind] for kind in kinds):
        assert escape(spanish) in page
        assert escape(english) not in page


def test_a_form_says_in_spanish_what_the_service_refuses(admin_client: Client) -> None:
    asked = {"service": "migo", "kind": "with_underscore", "pattern": ""}
    page = admin_client.post(reverse("admin:api_service_clearrun_run"), asked, headers=SPANISH).text
    assert "ninguno lleva guion bajo salvo tipo_cambio; el resto es el patrón" in page
