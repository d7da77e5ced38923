"""The circuit breaker over several processes, on a real database and a sandbox that fails as told."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import CircuitChange, SpendHour, UpstreamCircuit
from api_service.services import circuit, monitoring, providers
from api_service.services.bounded import stop_threads
from api_service.services.cache_service import APICacheService
from api_service.services.circuit_rules import Rules, State
from api_service.services.errors import UpstreamCircuitOpen, UpstreamError
from api_service.services.providers import NotFound, provider
from tests.integration.services.conftest import database_url
from tests.integration.services.looker import Looker
from tests.rucs import REAL, valid_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

NewLooker = Callable[..., Looker]


@pytest.fixture
def new_looker(vendor: RunningSandbox, memcached: Memcached, transactional_db: None) -> Iterator[NewLooker]:
    started: list[Looker] = []

    def start(**variables: str) -> Looker:
        environment = {
            "DATABASE_URL": database_url(),
            "CACHE_URL": memcached.url,
            "MIGO_BASE_URL": f"{vendor.url}/api/v1",
            "MIGO_TOKEN": "token-of-the-tests-0001",
            "MIGO_ATTEMPTS": "1",
            "ANSWER_STORE_SECONDS": "20",
            **variables,
        }
        started.append(Looker(**environment))
        started[-1]("share_the_circuit_patiently")
        return started[-1]

    yield start
    for looker in started:
        looker.close()


def codes(looker: Looker, rucs: list[str]) -> list[str]:
    return [looker("look_up", ruc)[1] for ruc in rucs]


def may_be_tried_again() -> bool:
    return UpstreamCircuit.objects.filter(open_until__lt=timezone.now()).exists()


def entered() -> int:
    return sum(SpendHour.objects.values_list("queries", flat=True))


@pytest.mark.parametrize("cache", ["up", "down"])
def test_what_one_process_opened_keeps_the_others_away_and_nothing_is_paid(
    cache: str, new_looker: NewLooker, vendor: RunningSandbox, free_port: int
) -> None:
    variables = {} if cache == "up" else {"CACHE_URL": f"memcached://127.0.0.1:{free_port}"}
    one, other = new_looker(**variables), new_looker(**variables)
    rucs = valid_rucs(12)
    assert codes(other, rucs[:1]) == ["upstream"]
    vendor.switch(error_rate=1.0)
    assert codes(one, rucs[1:6]) == ["upstream_server_error"] * 5
    asked, paid = len(vendor.log), entered()

    assert codes(one, rucs[6:8]) == ["upstream_circuit_open"] * 2
    # At most a second later it is known everywhere
    wait_until(lambda: codes(other, rucs[8:9]) == ["upstream_circuit_open"])
    late = len(vendor.log) - asked
    assert late <= 1
    assert codes(other, rucs[9:]) == ["upstream_circuit_open"] * 3
    assert (len(vendor.log) - asked, entered() - paid) == (late, late)
    assert [change.state for change in CircuitChange.objects.order_by("pk")] == ["open"]
    assert "500" in UpstreamCircuit.objects.get().reason


def test_many_processes_try_again_with_no_more_probes_than_allowed(
    new_looker: NewLooker, vendor: RunningSandbox
) -> None:
    lookers = [new_looker(MIGO_CIRCUIT_SECONDS="2", MIGO_READ_TIMEOUT="3") for _ in range(3)]
    rucs = valid_rucs(40)
    vendor.switch(error_rate=1.0)
    for looker in lookers:
        codes(looker, rucs[:5])
    asked = len(vendor.log)
    wait_until(may_be_tried_again)
    vendor.switch(error_rate=0.0, script=["timeout"] * 20)

    with ThreadPoolExecutor(3) as pool:
        groups = [rucs[10 * number : 10 * number + 10] for number in range(3)]
        said = list(pool.map(lambda pair: pair[0]("look_up_at_once", pair[1])[1], zip(lookers, groups, strict=True)))

    outcomes = [code for group in said for code in group]
    assert (outcomes.count("upstream_timeout"), outcomes.count("upstream_circuit_open")) == (2, 28)
    assert len(vendor.log) - asked == 2

    vendor.reset()
    vendor.switch(unknown_share=0.0)
    wait_until(lambda: codes(lookers[2], rucs[30:31]) == ["upstream"], timeout=30)
    wait_until(lambda: codes(lookers[0], rucs[31:32]) == ["upstream"], timeout=30)
    assert [change.state for change in CircuitChange.objects.order_by("pk")][-2:] == ["half_open", "closed"]


def test_a_prober_that_is_killed_frees_its_place_at_its_deadline(new_looker: NewLooker, vendor: RunningSandbox) -> None:
    variables = {"MIGO_CIRCUIT_SECONDS": "0.5", "MIGO_CIRCUIT_PROBES": "1", "MIGO_DEADLINE": "3"}
    one, other = new_looker(**variables, MIGO_READ_TIMEOUT="60"), new_looker(**variables)
    vendor.switch(error_rate=1.0)
    codes(one, valid_rucs(5))
    wait_until(may_be_tried_again)
    vendor.switch(error_rate=0.0, script=["timeout:60"])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(one, "probe_and_hang", REAL[0])
        wait_until(lambda: vendor.log[-1]["fault"] == "timeout")
        probes = UpstreamCircuit.objects.get().probes
        one.process.kill()
        assert answer.exception(10) is not None

    assert len(probes) == 1
    assert codes(other, [REAL[1]]) == ["upstream_circuit_open"]
    wait_until(lambda: codes(other, [REAL[2]]) == ["upstream"], timeout=20)
    assert UpstreamCircuit.objects.get().state == "closed"


def ask(ruc: str) -> str:
    try:
        return type(provider("migo").fetch("ruc", ruc)).__name__
    except UpstreamError as error:
        return error.code


@pytest.fixture
def impatient(settings: Settings, vendor: RunningSandbox) -> RunningSandbox:
    settings.MIGO_ATTEMPTS, settings.MIGO_CIRCUIT_FAILURES = 1, 2
    return vendor


def test_not_found_malformed_and_a_refused_token_never_open_it(impatient: RunningSandbox) -> None:
    impatient.switch(
        script=["401", "401", "403", "refused:Su plan ha vencido", "404", "404", "422", "422", "wrong_ruc"]
    )
    said = [ask(ruc) for ruc in valid_rucs(9)]

    assert "upstream_circuit_open" not in said
    assert said[:4] == ["upstream_auth_refused"] * 3 + ["upstream_refused"]
    impatient.switch(unknown_share=1.0)
    assert {ask(ruc) for ruc in valid_rucs(6)} == {NotFound.__name__}


@pytest.mark.parametrize("fault", ["500", "503", "timeout", "html", "broken_json", "429"])
def test_each_kind_of_trouble_of_the_service_opens_it(
    fault: str, impatient: RunningSandbox, settings: Settings
) -> None:
    settings.MIGO_READ_TIMEOUT = 0.2
    impatient.switch(script=[fault] * 2)
    said = [ask(ruc) for ruc in valid_rucs(3)]

    assert said[2] == "upstream_circuit_open"
    assert len(impatient.log) == 2


def test_one_429_that_names_a_time_opens_it_until_then(impatient: RunningSandbox) -> None:
    impatient.switch(script=["429:60"])
    assert ask(REAL[0]) == "upstream_rate_limited"

    with pytest.raises(UpstreamCircuitOpen) as refused:
        provider("migo").fetch("ruc", REAL[1])
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 60
    assert (refused.value.permanent, len(impatient.log)) == (False, 1)
    UpstreamCircuit.objects.update(open_until=timezone.now())
    providers.provider.cache_clear()
    assert ask(REAL[1]) == "Found"


def test_a_limit_that_forbids_a_probe_leaves_its_place_to_the_next(impatient: RunningSandbox) -> None:
    impatient.switch(script=["429:0"])
    ask(REAL[0])

    def forbid(queries: int, *, retry: bool) -> None:
        raise PermissionError("spent")

    for ruc in REAL[1:5]:
        with pytest.raises(PermissionError):
            provider("migo").fetch("ruc", ruc, spend=forbid)
    assert ask(REAL[5]) == "Found"


def test_of_a_batch_to_a_service_that_is_tried_again_one_goes_ahead(
    impatient: RunningSandbox, settings: Settings
) -> None:
    settings.MIGO_API_VERSION, settings.MIGO_BASE_URL = "v2", f"{impatient.url}/api/v2"
    impatient.switch(script=["429:0", "500"])
    ask(REAL[0])
    said = provider("migo").fetch_many("ruc", valid_rucs(8))

    assert len(impatient.log) == 2
    assert {type(answer).__name__ for answer in said.values()} == {"UpstreamServerError", "UpstreamCircuitOpen"}


def test_while_it_is_open_the_health_check_warns_and_says_why(
    impatient: RunningSandbox, cache: APICacheService, counts_at_once: None
) -> None:
    impatient.switch(error_rate=1.0)
    said = [ask(ruc) for ruc in REAL[:3]]
    warned = monitoring.run_health_check()
    impatient.switch(error_rate=0.0)
    UpstreamCircuit.objects.update(open_until=timezone.now())
    providers.provider.cache_clear()
    said.append(ask(REAL[3]))

    assert said[2:] == ["upstream_circuit_open", "Found"]
    assert warned.status == "warning"
    assert [(f["code"], f["severity"], f["node"]) for f in warned.findings] == [
        ("upstream_circuit_open", "warning", "migo")
    ]
    assert "500" in warned.findings[0]["value"]
    assert monitoring.run_health_check().findings == []


def test_zero_failures_switch_it_off(impatient: RunningSandbox, settings: Settings) -> None:
    settings.MIGO_CIRCUIT_FAILURES = 0
    impatient.switch(error_rate=1.0)

    assert {ask(ruc) for ruc in valid_rucs(9)} == {"upstream_server_error"}
    assert not UpstreamCircuit.objects.exists()


@pytest.fixture
def own_connections() -> Iterator[None]:
    """What keeps a connection of its own gives it back: the database of the tests goes at their end."""
    yield
    stop_threads(10)


def test_a_caller_that_rolls_back_takes_no_failure_along(settings: Settings, own_connections: None) -> None:
    settings.ANSWER_STORE_SECONDS = 2.0
    breaker = circuit.SharedCircuit("migo", Rules(failures=1))
    with transaction.atomic():
        breaker.record(breaker.admit(), UpstreamError("down", of_service=True))
        transaction.set_rollback(True)

    with pytest.raises(UpstreamCircuitOpen):
        breaker.admit()
    # SQLite: the caller's transaction held the only write lock, so this process knows alone
    expected = State.CLOSED if connection.vendor == "sqlite" else State.OPEN
    assert circuit.shared_state("migo").state is expected
