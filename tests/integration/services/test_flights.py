"""A flight's claims, on real servers: renewed, lost, and kept although a reply was lost."""

from itertools import count
from time import time

import pytest

from api_service.services import envelope, filling, flights
from api_service.services.cache_service import APICacheService
from api_service.services.flights import Landing
from api_service.services.outcomes import Outcome
from api_service.services.subjects import RUC, Subject
from tests.conftest import UseCacheUrl

KEY = "migo:ruc_20100038146"
ANSWER = {"v": 1, "t": 1.0, "e": None, "d": {"ruc": "20100038146"}}


@pytest.fixture(params=["memcached", "redis_server", "local_memory"])
def cache(request: pytest.FixtureRequest, use_cache_url: UseCacheUrl) -> APICacheService:
    url = "locmem://" if request.param == "local_memory" else request.getfixturevalue(request.param).url
    use_cache_url(url)
    service = APICacheService()
    service.clear()
    return service


@pytest.fixture
def failures_that_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than any test takes: it is not their end that is looked at."""
    monkeypatch.setattr(flights, "FAILURE_SECONDS", 60.0)


def departed(cache: APICacheService, *, refresh: bool = False, asked_at: float | None = None) -> flights.Departure:
    return flights.depart(cache, [KEY], 60, time() if asked_at is None else asked_at, refresh=refresh)


def test_of_two_that_want_the_same_the_second_finds_it_taken(cache: APICacheService) -> None:
    first, second = departed(cache), departed(cache)
    assert [set(first.mine), set(second.mine), set(second.taken)] == [{KEY}, set(), {KEY}]
    assert first.flight.land({KEY: Landing(ANSWER, 60)}) == {KEY}
    assert cache.get(KEY) == ANSWER["d"]


def test_a_claim_whose_renewal_was_done_and_not_confirmed_is_still_ours(cache: APICacheService) -> None:
    """As when the node stalls beyond the time-out: it has a version that the flight does not know."""
    flight = departed(cache).flight
    renewed = envelope.claim(flight.token)
    cache.cache.store(KEY, renewed, 60)
    flight.renew()
    assert flight.land({KEY: Landing(ANSWER, 60)}) == {KEY}


def test_a_claim_that_somebody_took_away_is_not_taken_back(cache: APICacheService) -> None:
    flight = departed(cache).flight
    cache.delete(KEY)
    flight.renew()
    assert flight.land({KEY: Landing(ANSWER, 60)}) == set()
    assert cache.get(KEY) is None


def test_what_nothing_came_of_is_given_up_at_the_end(cache: APICacheService) -> None:
    with departed(cache).flight.under_way():
        assert departed(cache).taken == {KEY}
    assert departed(cache).mine == {KEY}


def test_what_a_flight_leaves_is_free_at_once_and_a_value_there_stays(cache: APICacheService) -> None:
    cache.cache.store(KEY, ANSWER, 60)
    with departed(cache, refresh=True).flight.under_way() as flight:
        assert departed(cache, refresh=True).taken == {KEY}
        flight.leave([KEY])
        assert departed(cache, refresh=True).mine == {KEY}
        assert flight.land({KEY: Landing(ANSWER, 60)}) == set()
    assert cache.get(KEY) == ANSWER["d"]


def test_a_flight_that_takes_more_aboard_renews_and_gives_up_all(cache: APICacheService) -> None:
    other = KEY + "0"
    with departed(cache).flight.under_way() as flight:
        more = flights.depart(cache, [other], 60, time(), flight=flight)
        assert [set(more.mine), set(departed(cache).taken)] == [{other}, {KEY}]
        flight.renew()
        assert flight.land({KEY: Landing(ANSWER, 60)}) == {KEY}
    assert cache.cache.fetch(other) is None


@pytest.mark.usefixtures("failures_that_last")
def test_a_failure_is_there_for_who_waited_and_no_obstacle_to_who_comes_later(cache: APICacheService) -> None:
    began = time()
    departed(cache).flight.fail([KEY], {"code": "upstream_timeout"})
    failure = cache.read(KEY).failure
    assert failure is not None
    assert failure["code"] == "upstream_timeout"
    assert departed(cache, asked_at=began).taken == {KEY}
    assert departed(cache, asked_at=time() + 1).mine == {KEY}


@pytest.mark.usefixtures("failures_that_last")
def test_a_failure_over_a_value_is_told_beside_it_and_is_no_obstacle_to_who_comes_later(
    cache: APICacheService,
) -> None:
    cache.set(KEY, {"ruc": "before"}, 60)
    first = departed(cache, refresh=True, asked_at=time() + 1)
    first.flight.fail([KEY], {"code": "upstream_timeout"})

    failure = flights.failures_beside(cache, [KEY])[KEY]
    assert (failure["code"], cache.get(KEY)) == ("upstream_timeout", {"ruc": "before"})
    assert departed(cache, refresh=True, asked_at=failure["at"] - 0.001).taken == {KEY}
    later = departed(cache, refresh=True, asked_at=time() + 1)
    assert later.mine == {KEY}
    assert later.flight.land({KEY: Landing(ANSWER, 60)}) == {KEY}


def test_a_value_is_fetched_anew_by_one_and_one_that_came_since_by_nobody(cache: APICacheService) -> None:
    cache.set(KEY, {"ruc": "before"}, 60)
    asked_at = time() + 1
    first, second = (departed(cache, refresh=True, asked_at=asked_at) for _ in range(2))
    assert [set(first.mine), set(second.mine)] == [{KEY}, set()]
    cache.set(KEY, {"ruc": "newer"}, 60)
    assert first.flight.land({KEY: Landing(ANSWER, 60)}) == set()
    assert cache.get(KEY) == {"ruc": "newer"}
    assert departed(cache, refresh=True, asked_at=time() - 10).taken == {KEY}


@pytest.mark.parametrize("absent", [False, True])
def test_an_answer_from_before_a_forced_look_up_is_not_its_own_however_long_the_process_had_to_wait(
    cache: APICacheService, monkeypatch: pytest.MonkeyPatch, absent: bool
) -> None:
    """By a clock that went on between the reading and the judging, it looked as young as the look-up."""
    subject = Subject("migo", RUC, "20100038146")
    if absent:
        cache.add_invalid_ruc(subject.identifier, "not found")
    else:
        cache.set(subject.key, ANSWER["d"], 3600)
    asked_at = time() + 1
    ticks = count(asked_at, 10)
    monkeypatch.setattr(filling, "time", lambda: next(ticks))
    assert filling._landed(cache, {subject: Outcome.HIT}, asked_at, refresh=True) == {}
