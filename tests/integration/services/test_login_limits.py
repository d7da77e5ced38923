"""How often passwords may be guessed: for a name from an address, over all processes, with a dead cache too."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from pytest_django import Settings

from api_service.caches.local import LocalMemoryCache
from api_service.services import login_limits
from api_service.services.cache_service import APICacheService
from api_service.services.limit_storage import SharedLimits
from api_service.services.login_limits import address_of, attempt, succeeded
from tests.conftest import UseCacheUrl
from tests.servers import Memcached, Redis

# In which this process counts while the cache is down
MEMORY = "login-limits-of-the-tests"
HERE, THERE = "203.0.113.7", "198.51.100.9"
# Fifteen minutes begin
START = 1_800_000_000.0


class Clock:
    now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["memcached", "redis", "local memory"])
def cache(request: pytest.FixtureRequest, use_cache_url: UseCacheUrl) -> None:
    if request.param == "local memory":
        use_cache_url("locmem://cache-of-the-login-limits")
        # The memory is the process's, and other tests were in it before
        APICacheService().clear()
    else:
        server: Memcached | Redis = request.getfixturevalue({"redis": "redis_server"}.get(request.param, request.param))
        use_cache_url(server.url)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[Clock]:
    """Five attempts in fifteen minutes by a clock that stands still; nothing of another test is remembered."""
    settings.LOGIN_FAILURES, settings.LOGIN_MINUTES = 5, 15
    clock = Clock()
    for module in ("limit_storage", "login_limits"):
        monkeypatch.setattr(f"api_service.services.{module}.time", clock)
    forget(monkeypatch)
    yield clock
    LocalMemoryCache(MEMORY, {}).clear()


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another process, which has only what is in the cache."""
    monkeypatch.setattr(login_limits, "_limits", SharedLimits(MEMORY))


def waits(count: int, name: str = "mirona", address: str = HERE) -> list[bool]:
    return [attempt(name, address) > 0 for _ in range(count)]


@pytest.mark.usefixtures("cache")
def test_the_sixth_attempt_for_a_name_from_an_address_has_to_wait(caplog: pytest.LogCaptureFixture) -> None:
    assert waits(6) == [False] * 5 + [True]
    assert f"a login from {HERE} has to wait" in caplog.text
    assert "mirona" not in caplog.text


@pytest.mark.usefixtures("cache")
def test_other_names_and_other_addresses_do_not_have_to() -> None:
    waits(6)
    assert attempt("ana", HERE) == 0
    assert attempt("mirona", THERE) == 0


@pytest.mark.usefixtures("cache")
def test_another_process_knows_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    waits(5)
    forget(monkeypatch)
    assert attempt("mirona", HERE) > 0


@pytest.mark.usefixtures("cache")
def test_a_login_that_succeeds_is_the_end_of_it() -> None:
    waits(5)
    succeeded("mirona", HERE)
    assert waits(6) == [False] * 5 + [True]


@pytest.mark.usefixtures("cache")
def test_after_the_wait_it_may_try_again(clock: Clock) -> None:
    waits(5)
    wait = attempt("mirona", HERE)
    clock.now += wait - 2
    assert attempt("mirona", HERE) > 0
    clock.now += 3
    assert waits(2) == [False, True]


@pytest.mark.usefixtures("cache")
def test_a_list_of_names_from_one_address_ends_soon() -> None:
    assert [attempt(f"name{number}", HERE) > 0 for number in range(31)] == [False] * 30 + [True]
    assert attempt("mirona", THERE) == 0


@pytest.mark.usefixtures("cache")
def test_who_keeps_asking_for_one_name_does_not_keep_the_others_out() -> None:
    waits(100)
    assert attempt("ana", HERE) == 0


def test_a_hundred_at_once_are_no_more_than_one_after_the_other(
    memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(memcached.url)
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda _number: attempt("mirona", HERE), range(100)))
    assert results.count(0.0) <= 5


def test_a_dead_cache_neither_locks_out_nor_opens(own_memcached: Memcached, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(own_memcached.url)
    own_memcached.stop()
    assert waits(6) == [False] * 5 + [True]
    succeeded("mirona", HERE)
    assert attempt("mirona", HERE) == 0


@pytest.mark.usefixtures("cache")
def test_names_are_one_as_accounts_are_and_addresses_as_customers_are() -> None:
    waits(5, name="ﬁona", address="2001:db8:1:2::1")
    assert attempt("FIONA", "2001:db8:1:2:ffff::9") > 0
    assert attempt("FIONA", "2001:db8:1:3::1") == 0


@pytest.mark.usefixtures("cache")
def test_addresses_of_ipv4_on_a_socket_of_both_kinds_are_told_apart() -> None:
    waits(5, name="ana", address="::ffff:192.0.2.1")
    assert attempt("ana", "192.0.2.1") > 0
    assert attempt("ana", "::ffff:192.0.2.2") == 0


@pytest.mark.usefixtures("cache")
def test_none_has_to_wait_where_the_limit_is_off(settings: Settings) -> None:
    settings.LOGIN_FAILURES = 0
    assert not any(waits(50))


@pytest.mark.parametrize(
    ("forwarded", "behind_proxy", "address"),
    [
        ("", True, "127.0.0.1"),
        (HERE, True, HERE),
        # What the client wrote itself comes first
        (f"1.2.3.4, {HERE}", True, HERE),
        (HERE, False, "127.0.0.1"),
        (f"{HERE},", True, "127.0.0.1"),
    ],
)
def test_the_address_is_the_proxys_own_word_and_only_where_there_is_one(
    forwarded: str, behind_proxy: bool, address: str
) -> None:
    assert address_of("127.0.0.1", forwarded, behind_proxy=behind_proxy) == address
