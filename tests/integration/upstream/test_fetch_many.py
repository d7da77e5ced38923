"""Many RUCs at once: collections in version one, single calls side by side in version two."""

import threading
import time
from collections.abc import Mapping, Sequence

import pytest
from stdnum.pe.ruc import calc_check_digit

from api_service.sandbox import data
from api_service.services.breakers import Permit
from api_service.services.errors import (
    UpstreamAuthRefused,
    UpstreamCircuitOpen,
    UpstreamError,
    UpstreamNotAsked,
    UpstreamServerError,
    UpstreamTimeout,
)
from api_service.services.migo_client import MigoClient, MigoConfig
from api_service.services.migo_wire import Version
from api_service.services.providers import Answer, Found, NotFound, SpendLater
from api_service.services.upstream import Door
from tests.integration.upstream.conftest import TOKEN, ClientOf, patience_with
from tests.integration.upstream.test_migo_client import Ledger
from tests.sandbox_fixture import RunningSandbox
from tests.waiting import wait_until


def rucs(count: int) -> list[str]:
    bodies = [f"20{51_000_000 + 7 * index:08d}" for index in range(count)]
    return [body + calc_check_digit(body) for body in bodies]


def errors(results: Sequence[object]) -> list[UpstreamError]:
    return [result for result in results if isinstance(result, UpstreamError)]


def test_each_ruc_gets_its_own_answer_in_the_order_asked(client: MigoClient, sandbox: RunningSandbox) -> None:
    sandbox.switch(unknown_share=0.3)
    asked = rucs(60)
    results = client.fetch_many("ruc", asked)
    assert list(results) == asked
    for ruc, answer in results.items():
        expected = NotFound("NO_EXISTE_SUNAT") if data.is_unknown(ruc, 0.3) else ruc
        assert expected == (answer.data["ruc"] if isinstance(answer, Found) else answer)
    assert len({type(answer) for answer in results.values()}) == 2


def test_duplicates_are_asked_once_and_malformed_ones_never(client: MigoClient, sandbox: RunningSandbox) -> None:
    ledger = Ledger()
    results = client.fetch_many("ruc", ["20100038146", "20123456789", "20100038146", "x"], spend=ledger)
    assert list(results) == ["20100038146", "20123456789", "x"]
    assert results["20123456789"] == results["x"] == NotFound("FORMATO_INVALIDO")
    assert (sandbox.billed, ledger.calls) == (1, [(1, False)])


def test_nothing_to_ask_is_no_request(client: MigoClient, sandbox: RunningSandbox) -> None:
    assert client.fetch_many("ruc", []) == {}
    assert sandbox.log == []


def test_version_one_asks_for_a_hundred_at_a_time(client_of: ClientOf, sandbox: RunningSandbox) -> None:
    ledger = Ledger()
    assert len(client_of("v1").fetch_many("ruc", rucs(250), spend=ledger)) == 250
    assert [entry["billed"] for entry in sandbox.log] == [100, 100, 50]
    assert ledger.calls == [(100, False), (100, False), (50, False)]


def test_version_two_asks_side_by_side_but_for_no_more_than_eight(client_of: ClientOf, sandbox: RunningSandbox) -> None:
    sandbox.switch(latency=0.1)
    ledger = Ledger()
    assert errors(list(client_of("v2").fetch_many("ruc", rucs(24), spend=ledger).values())) == []
    assert 2 <= sandbox.state["most_in_flight"] <= 8
    assert sum(queries for queries, _ in ledger.calls) == sandbox.billed == 24


@pytest.mark.parametrize("faults", [["500"] * 3, ["html", "broken_json", "timeout"], ["429:60"], ["refused:Plan"]])
def test_one_failed_chunk_of_three_takes_only_its_own_with_it(
    client_of: ClientOf, sandbox: RunningSandbox, faults: list[str]
) -> None:
    sandbox.switch(script=["ok", *faults])
    asked = rucs(300)
    results = client_of("v1", read_timeout=patience_with(*faults)).fetch_many("ruc", asked)
    assert [isinstance(results[ruc], UpstreamError) for ruc in asked] == [False] * 100 + [True] * 100 + [False] * 100


def test_one_failed_ruc_of_version_two_takes_no_other_with_it(client_of: ClientOf, sandbox: RunningSandbox) -> None:
    sandbox.switch(script=["ok", "ok", "refused:Plan vencido"])
    results = client_of("v2").fetch_many("ruc", rucs(12))
    assert len(errors(list(results.values()))) == 1
    assert len(sandbox.log) == 12


def test_only_what_failed_is_asked_again_and_paid_again(client_of: ClientOf, sandbox: RunningSandbox) -> None:
    sandbox.switch(script=["500", "ok", "429:1", *["ok"] * 5])
    ledger = Ledger()
    started = time.monotonic()
    results = client_of("v2").fetch_many("ruc", rucs(8), spend=ledger)
    assert errors(list(results.values())) == []
    assert ledger.calls == [(8, False), (2, True)]
    assert time.monotonic() - started >= 1.0


def test_a_collection_is_retried_whole(client_of: ClientOf, sandbox: RunningSandbox) -> None:
    sandbox.switch(script=["broken_json", "ok"])
    ledger = Ledger()
    results = client_of("v1").fetch_many("ruc", rucs(10), spend=ledger)
    assert errors(list(results.values())) == []
    assert ledger.calls == [(10, False), (10, True)]


def test_a_refused_token_stops_the_rest(client: MigoClient, sandbox: RunningSandbox) -> None:
    sandbox.switch(script=["401"] * 8)
    results = client.fetch_many("ruc", rucs(300))
    assert {type(result) for result in results.values()} == {UpstreamAuthRefused}
    assert len(results) == 300
    assert len(sandbox.log) <= 8


def test_two_failed_chunks_in_a_row_stop_the_rest(client_of: ClientOf, sandbox: RunningSandbox) -> None:
    sandbox.switch(error_rate=1.0)
    results = client_of("v1", attempts=2).fetch_many("ruc", rucs(500))
    assert {type(result) for result in results.values()} == {UpstreamServerError}
    assert len(sandbox.log) == 4


def test_a_silent_service_is_left_after_two_deadlines_however_many_were_asked_for(
    client_of: ClientOf, version: Version, sandbox: RunningSandbox
) -> None:
    sandbox.switch(timeout_rate=1.0)
    started = time.monotonic()
    results = client_of(version, deadline=0.5).fetch_many("ruc", rucs(1000))
    assert time.monotonic() - started < 30
    # Two collections, or two waves of eight
    assert len(sandbox.log) <= {"v1": 2, "v2": 16}[version]
    assert {type(result) for result in results.values()} == {UpstreamTimeout}


def test_a_limit_reached_before_the_first_call_passes_untouched(client: MigoClient, sandbox: RunningSandbox) -> None:
    with pytest.raises(PermissionError, match="spent"):
        client.fetch_many("ruc", rucs(20), spend=Ledger(forbid=1))
    assert sandbox.log == []


def test_a_limit_reached_half_way_keeps_what_was_paid_for(client: MigoClient, sandbox: RunningSandbox) -> None:
    results = client.fetch_many("ruc", rucs(250), spend=Ledger(forbid=2))
    left = errors(list(results.values()))
    assert len(results) == 250
    assert len(left) == 250 - sandbox.billed > 0
    assert {type(error) for error in left} == {UpstreamNotAsked}
    assert isinstance(left[0].__cause__, PermissionError)


def test_a_limit_that_forbids_a_retry_keeps_the_answers_of_the_first_round(
    client_of: ClientOf, sandbox: RunningSandbox
) -> None:
    sandbox.switch(script=["500", *["ok"] * 7])
    results = client_of("v2").fetch_many("ruc", rucs(8), spend=Ledger(forbid=2))
    assert len(errors(list(results.values()))) == 1
    assert len(sandbox.log) == 8


def test_other_kinds_are_asked_one_by_one_in_both_versions(client: MigoClient, sandbox: RunningSandbox) -> None:
    results = client.fetch_many("dni", ["12345678", "87654321", "1"])
    assert [type(result) for result in results.values()] == [Found, Found, NotFound]
    assert len(sandbox.log) == 2


# -- collections side by side


def test_collections_are_asked_for_side_by_side_but_never_more_than_allowed(
    client_of: ClientOf, sandbox: RunningSandbox
) -> None:
    sandbox.switch(latency=0.2)
    ledger, asked = Ledger(), rucs(1200)
    results = client_of("v1", parallel=4).fetch_many("ruc", asked, spend=ledger)

    assert sandbox.state["most_in_flight"] == 4
    assert list(results) == asked
    assert errors(list(results.values())) == []
    assert ledger.calls == [(100, False)] * 12


def test_only_the_callers_own_thread_spends_and_gets_the_answers(client_of: ClientOf, sandbox: RunningSandbox) -> None:
    sandbox.switch(latency=0.05, error_rate=0.2)
    threads: set[int] = set()

    def spend(queries: int, *, retry: bool) -> None:
        threads.add(threading.get_ident())

    def answered(answers: Mapping[str, Answer]) -> None:
        threads.add(threading.get_ident())

    client_of("v1", parallel=4).fetch_many("ruc", rucs(1000), spend=spend, answered=answered)

    assert threads == {threading.get_ident()}


def test_what_was_answered_is_handed_over_while_other_calls_are_under_way(
    client_of: ClientOf, sandbox: RunningSandbox
) -> None:
    sandbox.switch(script=["timeout", "ok", "ok", "ok"])
    asked, first_of_each = rucs(300), list[str]()
    client_of("v1", parallel=2, read_timeout=patience_with("timeout")).fetch_many(
        "ruc", asked, answered=lambda answers: first_of_each.append(next(iter(answers)))
    )

    # The silent one answers when it is asked again
    assert sorted(first_of_each) == sorted([asked[100], asked[200], asked[0]])
    # Of the two that were under way at first, whichever came first to the vendor
    assert first_of_each[-1] in {asked[0], asked[100]}


def test_a_failed_chunk_comes_back_when_it_is_due_and_the_others_go_on(
    client_of: ClientOf, sandbox: RunningSandbox
) -> None:
    # Long enough for all the others on a machine that stalls
    sandbox.switch(script=["429:3", *["ok"] * 20])
    order: list[int] = []
    ledger = Ledger()
    results = client_of("v1", parallel=2).fetch_many(
        "ruc", rucs(600), spend=ledger, answered=lambda answers: order.append(len(answers))
    )

    assert errors(list(results.values())) == []
    assert ledger.calls == [(100, False)] * 6 + [(100, True)]
    assert [entry["status"] for entry in sandbox.log] == [429, *[200] * 6]


def test_two_failures_in_a_row_stop_what_is_not_under_way(client_of: ClientOf, sandbox: RunningSandbox) -> None:
    sandbox.switch(error_rate=1.0)
    results = client_of("v1", attempts=2, parallel=4).fetch_many("ruc", rucs(2000))

    assert {type(result) for result in results.values()} == {UpstreamServerError}
    # Four under way, two that wait for a thread and one for the first that failed, twice each
    assert len(sandbox.log) <= 14


def test_a_refusal_half_way_keeps_what_is_under_way_and_asks_no_more(
    client_of: ClientOf, sandbox: RunningSandbox
) -> None:
    sandbox.switch(latency=0.1)
    kept: list[str] = []
    results = client_of("v1", parallel=4).fetch_many("ruc", rucs(1000), spend=Ledger(forbid=4), answered=kept.extend)
    left = errors(list(results.values()))

    assert (len(kept), sandbox.billed, len(left)) == (300, 300, 700)
    assert {type(error) for error in left} == {UpstreamNotAsked}
    assert isinstance(left[0].__cause__, PermissionError)


def test_a_caller_that_is_cut_off_still_gets_what_is_under_way(client_of: ClientOf, sandbox: RunningSandbox) -> None:
    sandbox.switch(latency=0.1)
    kept: list[int] = []

    def answered(answers: Mapping[str, Answer]) -> None:
        kept.append(len(answers))
        if len(kept) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client_of("v1", parallel=4).fetch_many("ruc", rucs(1000), answered=answered)
    assert sum(kept) == sandbox.billed <= 700


def test_while_a_place_is_waited_for_what_was_answered_is_handed_over(
    client_of: ClientOf, sandbox: RunningSandbox
) -> None:
    handed: list[float] = []
    asked: list[float] = []

    def spend(queries: int, *, retry: bool) -> None:
        if len(asked) == 2:
            # Both have been answered, and nobody has taken their answers yet
            wait_until(lambda: (len(sandbox.log), sandbox.state["in_flight"]) == (2, 0))
        asked.append(time.monotonic())
        if len(asked) == 3:
            raise SpendLater(0.5)

    client_of("v1", parallel=4).fetch_many(
        "ruc", rucs(300), spend=spend, answered=lambda _: handed.append(time.monotonic())
    )

    assert len(asked) == 4
    assert asked[3] - asked[2] >= 0.5
    assert max(handed[:2]) < asked[3]
    assert len(sandbox.log) == 3


def test_of_a_batch_to_a_service_that_is_tried_again_one_call_goes_ahead(sandbox: RunningSandbox, door: Door) -> None:
    sandbox.switch(latency=0.1)
    breaker = OnceOpen()
    config = MigoConfig(TOKEN, sandbox.url, "v1", parallel=4)
    results = MigoClient(config, door, breaker).fetch_many("ruc", rucs(500))

    assert errors(list(results.values())) == []
    assert breaker.under_way_when_asked == [0, 0, 1, 2, 3]


def test_a_batch_waits_for_a_short_pause_and_not_for_a_long_one(sandbox: RunningSandbox, door: Door) -> None:
    config = MigoConfig(TOKEN, sandbox.url, "v1", parallel=4, deadline=20.0)
    short = MigoClient(config, door, OnceOpen(pause=0.3)).fetch_many("ruc", rucs(300))
    long = MigoClient(config, door, OnceOpen(pause=300.0)).fetch_many("ruc", rucs(300))

    assert errors(list(short.values())) == []
    assert {type(answer) for answer in long.values()} == {UpstreamCircuitOpen}
    assert len(sandbox.log) == 3


class OnceOpen:
    """Refuses the first call, for `pause` seconds, where that is not 0; closes with the first answer."""

    def __init__(self, pause: float = 0.0) -> None:
        self.is_closed = False
        self.under_way_when_asked: list[int] = []
        self._under_way = 0
        self._pause = pause
        self._until = 0.0

    def admit(self) -> Permit:
        if self._pause:
            self._until, self._pause = time.monotonic() + self._pause, 0.0
        if (left := self._until - time.monotonic()) > 0:
            raise UpstreamCircuitOpen("left alone", retry_after=left)
        self.under_way_when_asked.append(self._under_way)
        self._under_way += 1
        return Permit()

    def record(self, permit: Permit, *errors: UpstreamError | None) -> None:
        self._under_way -= 1
        self.is_closed = True

    def release(self, permit: Permit) -> None:
        self._under_way -= 1
