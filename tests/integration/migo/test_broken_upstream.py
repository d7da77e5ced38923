"""APIMIGO broken in each way of its contract: what the user sees, what is paid, what is kept.

Paid is what the vendor bills; the ledger counts each attempt before it is made and so never shows less.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import time
from typing import Any

import pytest
from django.db.models import Sum
from pytest_django import Settings

from api_service.models import SpendHour, StoredAnswer
from api_service.services.cache_service import APICacheService
from api_service.services.migo_service import MigoAPIService
from api_service.services.outcomes import Outcome
from api_service.services.providers import provider
from tests.migo_fixtures import RUC
from tests.sandbox_fixture import RunningSandbox

LIFE = 3600.0
OLD_NAME = "LA DEL ALMACEN"
SERVER_ERROR, BAD_ANSWER = "upstream_server_error", "upstream_bad_answer"


@dataclass(frozen=True)
class Way:
    """`switches` of the sandbox, `settings` of ours; the failure that the user is told, and what the vendor bills."""

    code: str
    switches: dict[str, Any]
    permanent: bool = False
    retry_after: float | None = None
    billed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)


def script(step: str) -> dict[str, Any]:
    return {"script": [step]}


WAYS = {
    "500": Way(SERVER_ERROR, script("500")),
    "502": Way(SERVER_ERROR, script("502")),
    "503": Way(SERVER_ERROR, script("503")),
    "503 that names a wait": Way(SERVER_ERROR, script("503:7"), retry_after=7.0),
    "504": Way(SERVER_ERROR, script("504")),
    "silence": Way("upstream_timeout", script("timeout:30"), billed=1, settings={"MIGO_READ_TIMEOUT": 1.0}),
    "one byte at a time": Way("upstream_timeout", script("drip:0.1"), billed=1, settings={"MIGO_DEADLINE": 1.0}),
    "JSON cut short": Way(BAD_ANSWER, script("broken_json"), billed=1),
    "HTML error page": Way(SERVER_ERROR, script("html")),
    "HTML 404": Way(BAD_ANSWER, script("html404"), permanent=True),
    "429": Way("upstream_rate_limited", script("429")),
    "429 that names a wait": Way("upstream_rate_limited", script("429:30"), retry_after=30.0),
    "token refused": Way("upstream_auth_refused", script("401"), permanent=True),
    "plan exhausted": Way("upstream_auth_refused", {"consultas": 0}, permanent=True),
    "refusal in words": Way("upstream_refused", script("refused:Su plan ha vencido."), permanent=True),
    "down for maintenance, in words": Way(SERVER_ERROR, script("refused:Servicio en mantenimiento.")),
    "record of another RUC": Way(BAD_ANSWER, script("wrong_ruc"), billed=1),
    "no connection": Way("upstream_unreachable", {}, settings={"MIGO_BASE_URL": "http://127.0.0.1:1"}),
}
# These do speak of the RUC: not failures but negative answers, remembered with their reason
ABSENT = {
    "422": ("422", "FORMATO_INVALIDO"),
    "not found, in words": ("refused:El RUC no existe en SUNAT.", "NO_EXISTE_SUNAT"),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, sandbox: RunningSandbox, migo: MigoAPIService, settings: Settings) -> Way:
    """APIMIGO is broken that way for the next look-up."""
    broken = WAYS[request.param]
    sandbox.switch(**broken.switches)
    _configure(settings, broken.settings)
    return broken


def _configure(settings: Settings, changed: dict[str, Any]) -> None:
    for name, value in changed.items():
        setattr(settings, name, value)
    provider.cache_clear()


@pytest.fixture
def old_answer(migo: MigoAPIService) -> None:
    """In the store, two hours past its life."""
    born = datetime.fromtimestamp(time() - LIFE - 7200, UTC)
    data = f'{{"ruc": "{RUC}", "nombre_o_razon_social": "{OLD_NAME}"}}'
    StoredAnswer.objects.create(service="migo", kind="ruc", identifier=RUC, data=data, born_at=born)


def entered() -> int:
    """Queries in the ledger."""
    return int(SpendHour.objects.aggregate(total=Sum("queries"))["total"] or 0)


def kept() -> tuple[bool, bool]:
    """Whether the cache has an answer, and whether it lists the RUC as invalid."""
    cache = APICacheService()
    return cache.read_ruc(RUC).outcome is not Outcome.MISS, cache.is_ruc_invalid(RUC)


def test_who_has_no_old_answer_is_told_what_failed_and_nothing_is_kept(
    way: Way, migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    seen = migo.consultar_ruc(RUC)
    assert (seen["success"], seen["code"], seen["permanent"]) == (False, way.code, way.permanent)
    assert (seen["retry_after"], seen["reason"]) == (way.retry_after, None)
    assert seen["error"]
    assert seen["next_step"]
    assert (sandbox.billed, entered()) == (way.billed, 1)
    assert (kept(), StoredAnswer.objects.count()) == ((False, False), 0)


def test_who_has_an_old_answer_is_shown_it_with_the_reason_and_it_is_not_kept_as_new(
    way: Way, old_answer: None, migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    seen = migo.consultar_ruc(RUC)
    assert (seen["success"], seen["nombre_o_razon_social"]) == (True, OLD_NAME)
    assert (seen["cache"]["source"], seen["cache"]["stale"]) == ("store", True)
    assert (seen["cache"]["outcome"], seen["cache"]["stale_because"]) == ("miss", way.code)
    assert LIFE + 7200 <= seen["cache"]["age"] < LIFE + 7260
    assert (sandbox.billed, entered()) == (way.billed, 1)
    assert (kept(), StoredAnswer.objects.count()) == ((False, False), 1)


def test_who_was_told_of_a_failure_asks_anew_and_is_answered_once_it_is_over(
    way: Way, migo: MigoAPIService, sandbox: RunningSandbox, settings: Settings
) -> None:
    migo.consultar_ruc(RUC)
    sandbox.reset()
    _configure(settings, {"MIGO_READ_TIMEOUT": 10.0, "MIGO_DEADLINE": 25.0, "MIGO_BASE_URL": sandbox.url})
    seen = migo.consultar_ruc(RUC)
    if way.code == "upstream_rate_limited" and way.retry_after:
        # It asked to be left alone for so long, and is
        assert (seen["success"], seen["code"], sandbox.log) == (False, "upstream_circuit_open", [])
        assert 0 < seen["retry_after"] <= way.retry_after
        return
    assert (seen["success"], seen["cache"]["source"]) == (True, "upstream")
    assert (sandbox.billed, kept()) == (1, (True, False))


@pytest.mark.parametrize(("step", "reason"), ABSENT.values(), ids=ABSENT)
def test_an_answer_about_the_ruc_is_negative_remembered_and_no_failure(
    migo: MigoAPIService, sandbox: RunningSandbox, old_answer: None, step: str, reason: str
) -> None:
    sandbox.switch(script=[step])
    first, second = migo.consultar_ruc(RUC), migo.consultar_ruc(RUC)
    for seen in (first, second):
        assert (seen["success"], seen["code"], seen["reason"]) == (False, "not_found", reason)
        assert (seen["permanent"], seen["retry_after"]) == (True, None)
    assert (first["cache"]["source"], second["cache"]["outcome"]) == ("upstream", "negative")
    # The old answer is not shown for one that is said not to exist, and goes
    assert (kept(), StoredAnswer.objects.count()) == ((False, True), 0)
    assert (len(sandbox.log), entered()) == (1, 1)
    info = APICacheService().get_invalid_ruc_info(RUC)
    assert info is not None
    assert info["reason"] == reason


def test_each_attempt_is_entered_before_it_is_made_and_the_further_ones_as_retries(
    migo: MigoAPIService, sandbox: RunningSandbox, settings: Settings
) -> None:
    _configure(settings, {"MIGO_ATTEMPTS": 3})
    sandbox.switch(script=["broken_json", "503", "ok"])
    assert migo.consultar_ruc(RUC)["success"] is True
    assert dict(SpendHour.objects.values_list("purpose", "queries")) == {"user": 1, "retry": 2}
    assert (sandbox.billed, len(sandbox.log)) == (2, 3)
