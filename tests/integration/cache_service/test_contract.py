"""What callers of APICacheService rely on, on every backend."""

import logging
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import caches

from api_service.services.cache_service import APICacheService
from api_service.services.inventory import names
from api_service.services.outcomes import Outcome
from tests.conftest import UseCacheUrl
from tests.integration.cache_service.conftest import BACKENDS
from tests.rucs import REAL, WRONG_CHECK_DIGIT, record, valid_rucs
from tests.waiting import wait_until

RUC = REAL[0]

VALUES: list[Any] = [0, -5, 2.5, "", "ñandú ✅", True, False, None, [], [1, [2]], {}, {"a": {"b": [None]}}]


def test_backend_names_the_kind_of_server(cache: APICacheService, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["cache_url"]

    assert cache.backend == BACKENDS[name]
    assert len(cache.adapter.nodes()) == (3 if name == "memcached_three_nodes" else 1)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_json_value_comes_back_as_it_was(cache: APICacheService, value: Any) -> None:
    assert cache.set("k", value) is True

    read = cache.get("k", "absent")

    assert read == value
    assert type(read) is type(value)


def test_a_stored_none_is_not_a_miss(cache: APICacheService) -> None:
    cache.set("k", None)

    assert cache.read("k").outcome is Outcome.HIT
    assert cache.get("k", "default") is None
    assert cache.read("other").outcome is Outcome.MISS
    assert cache.get("other", "default") == "default"


def test_a_value_carries_its_birth_time_and_its_end(cache: APICacheService) -> None:
    before = datetime.now(UTC).timestamp()
    cache.set("k", 1, ttl=60)
    read = cache.read("k")

    assert before - 0.01 <= read.born_at <= datetime.now(UTC).timestamp() + 0.01
    assert read.expires_at == pytest.approx(read.born_at + 60, abs=0.01)


def test_a_value_that_json_would_change_is_refused_and_named(
    cache: APICacheService, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        stored = cache.set("the-key", {1, 2})

    assert stored is False
    assert "the-key" in caplog.text
    assert cache.get("the-key") is None


def test_a_value_ends_with_its_life_time(cache: APICacheService) -> None:
    cache.set("short", 1, ttl=1)
    cache.set("long", 2, ttl=60)

    wait_until(lambda: cache.get("short") is None, timeout=5)
    assert cache.get("long") == 2


def test_delete_says_whether_there_was_something(cache: APICacheService) -> None:
    cache.set("k", 1)

    assert cache.delete("k") is True
    assert cache.delete("k") is False
    assert cache.get("k") is None


def test_many_are_written_and_read_under_the_callers_names(cache: APICacheService) -> None:
    values = {f"clave número {i}": i for i in range(300)}

    assert cache.set_many(values) == []
    assert cache.get_many([*values, "absent"]) == values


def test_one_bad_value_of_many_is_named_and_the_others_are_stored(cache: APICacheService) -> None:
    assert cache.set_many({"good": 1, "bad": object(), "fine": 2}) == ["bad"]
    assert cache.get_many(["good", "bad", "fine"]) == {"good": 1, "fine": 2}


@pytest.mark.parametrize(
    "key", ["with space", "tab\tand\nnewline", "ñandú", "x" * 5000, "\x00", "🔑" * 300, "a" * 246, "a" * 247]
)
def test_any_key_is_usable_and_fits_the_server(cache: APICacheService, key: str) -> None:
    name = cache._normalize_key(key)
    wire = caches["default"].make_key(name)

    assert len(wire.encode()) <= 250
    assert name.isascii()
    assert not any(character.isspace() or ord(character) < 33 for character in name)
    assert cache.set(key, key)
    assert cache.get(key) == key


def test_two_different_keys_never_meet(cache: APICacheService) -> None:
    pairs = [("a b", "a_b"), ("a b", "a\tb"), ("é", "è"), ("x" * 300, "x" * 301)]
    taken = cache._normalize_key("a b")

    for one, other in [*pairs, ("a b", taken)]:
        assert cache._normalize_key(one) != cache._normalize_key(other)


def test_clear_empties_everything_and_warns(cache: APICacheService, caplog: pytest.LogCaptureFixture) -> None:
    cache.set_many({f"k{i}": i for i in range(50)})

    with caplog.at_level(logging.WARNING):
        assert cache.clear() is True

    assert cache.get_many([f"k{i}" for i in range(50)]) == {}
    assert "clearing the whole cache" in caplog.text


def test_a_service_key_carries_its_service(cache: APICacheService) -> None:
    assert cache.get_service_cache_key("migo", "ruc_20100038146") == "migo:ruc_20100038146"
    with pytest.raises(ValueError, match="service name"):
        cache.get_service_cache_key("mi:go", "x")


def test_clearing_a_service_removes_its_keys_and_no_other(cache: APICacheService) -> None:
    cache.set_many({cache.get_service_cache_key("migo", f"ruc_{i}"): i for i in range(500)})
    cache.set_many({cache.get_service_cache_key("migo2", f"ruc_{i}"): i for i in range(20)})
    cache.set("migo", "no service")

    assert cache.clear_service_cache("migo") == {"found": 500, "removed": 500, "failed": 0, "nodes_failed": 0}
    assert cache.get("migo:ruc_3") is None
    assert cache.get("migo2:ruc_3") == 3
    assert cache.get("migo") == "no service"
    assert cache.clear_service_cache("migo")["found"] == 0


def test_a_service_that_cannot_exist_clears_nothing(cache: APICacheService) -> None:
    cache.set("migo:ruc_1", 1)

    for name in ("", "*", "mi:go", "MIGO", "mi go"):
        with pytest.raises(ValueError, match="service name"):
            cache.clear_service_cache(name)
    assert cache.get("migo:ruc_1") == 1


def test_a_ruc_is_kept_for_an_hour_under_its_service_key(cache: APICacheService) -> None:
    assert cache.set_ruc(RUC, record(RUC)) is True

    assert cache.get_ruc(RUC) == record(RUC)
    read = cache.read(f"migo:ruc_{RUC}")
    assert read.value == record(RUC)
    assert read.expires_at is not None
    assert read.expires_at - read.born_at == pytest.approx(3600, abs=0.01)
    assert cache.delete_ruc(RUC) is True
    assert cache.get_ruc(RUC) is None


@pytest.mark.parametrize("ruc", ["", "123", "2010003814A", " 20100038146", "٢٠١٠٠٠٣٨١٤٦", *WRONG_CHECK_DIGIT])
def test_a_malformed_ruc_is_neither_stored_nor_found(cache: APICacheService, ruc: str) -> None:
    assert cache.set_ruc(ruc, {"ruc": ruc}) is False
    assert cache.get_ruc(ruc) is None
    assert cache.delete_ruc(ruc) is False


def test_an_invalid_ruc_is_remembered_with_its_reason_for_a_day(cache: APICacheService) -> None:
    assert cache.add_invalid_ruc(RUC) is True

    info = cache.get_invalid_ruc_info(RUC)
    assert info is not None
    assert info["reason"] == "NO_EXISTE_SUNAT"
    life = datetime.fromisoformat(info["expires_at"]) - datetime.fromisoformat(info["added_at"])
    assert life == timedelta(hours=24)
    assert cache.is_ruc_invalid(RUC) is True
    assert cache.remove_invalid_ruc(RUC) is True
    assert cache.is_ruc_invalid(RUC) is False
    assert cache.get_invalid_ruc_info(RUC) is None


def test_a_ruc_listed_as_invalid_has_no_record_any_more(cache: APICacheService) -> None:
    cache.set_ruc(REAL[0], record(REAL[0]))
    cache.set_ruc(REAL[1], record(REAL[1]))

    cache.add_invalid_ruc(REAL[0])

    assert cache.get_ruc(REAL[0]) is None
    assert cache.get_ruc(REAL[1]) == record(REAL[1])


def test_adding_an_invalid_ruc_does_not_renew_the_others(cache: APICacheService) -> None:
    cache.add_invalid_ruc(REAL[0], ttl_hours=1 / 3600)
    cache.add_invalid_ruc(REAL[1], ttl_hours=1)

    wait_until(lambda: not cache.is_ruc_invalid(REAL[0]), timeout=5)
    assert set(cache.get_all_invalid_rucs()) == {REAL[1]}


def test_any_eleven_digits_may_be_listed_as_invalid_and_nothing_else(cache: APICacheService) -> None:
    assert all(cache.add_invalid_ruc(ruc, "FORMATO_INVALIDO") for ruc in WRONG_CHECK_DIGIT)
    assert not any(cache.add_invalid_ruc(text) for text in ("", "123", "abcdefghijk", "123456789012"))
    assert set(cache.get_all_invalid_rucs()) == set(WRONG_CHECK_DIGIT)


@pytest.mark.django_db
def test_all_invalid_rucs_are_listed_counted_and_cleared(cache: APICacheService) -> None:
    rucs = valid_rucs(30)
    for ruc in rucs[:20]:
        cache.add_invalid_ruc(ruc)
    for ruc in rucs[20:]:
        cache.add_invalid_ruc(ruc, "FORMATO_INVALIDO")
    cache.set_ruc(RUC, record(RUC))

    stats = cache.get_cache_stats()["invalid_rucs"]
    assert stats["total_count"] == 30
    assert stats["breakdown_by_reason"] == {"NO_EXISTE_SUNAT": 20, "FORMATO_INVALIDO": 10}
    assert set(stats["sample"]) <= set(rucs)
    assert cache.clear_invalid_rucs()["removed"] == 30
    assert cache.get_all_invalid_rucs() == {}
    assert cache.get_ruc(RUC) == record(RUC)


def test_the_breakdown_groups_by_reason(cache: APICacheService) -> None:
    infos = {"1": {"reason": "A"}, "2": {"reason": "B"}, "3": {"reason": "A"}}

    assert cache._breakdown_invalid_rucs_by_reason(infos) == {"A": 2, "B": 1}


def test_an_exchange_rate_keeps_its_decimals_as_text(cache: APICacheService) -> None:
    rate = {"fecha": "2026-01-28", "moneda": "USD", "precio_compra": Decimal("3.700"), "precio_venta": "3.712"}

    assert cache.set_tipo_cambio(rate, date(2026, 1, 28)) is True
    assert cache.set_tipo_cambio({**rate, "precio_venta": "3.800"}) is True

    assert cache.get_tipo_cambio("2026-01-28")["precio_compra"] == "3.700"
    assert cache.get_tipo_cambio()["precio_venta"] == "3.800"
    assert cache.get_tipo_cambio("2020-01-01") is None


def test_health_has_the_promised_form(cache: APICacheService) -> None:
    cache.add_invalid_ruc(RUC)

    health = cache.get_health()

    assert health["status"] == "healthy"
    assert health["checks"] == {"connection": "✅ OK", "basic_operations": "✅ OK", "invalid_rucs": "✅ 1 RUCs"}
    assert datetime.fromisoformat(health["timestamp"]).tzinfo is not None
    assert [node["reachable"] for node in health["nodes"]] == [True] * len(cache.adapter.nodes())


@pytest.mark.django_db
def test_a_health_check_leaves_nothing_behind(cache: APICacheService) -> None:
    cache.get_health()
    cache.get_cache_stats()

    assert cache.get_cache_stats()["services"] == {}
    assert names(cache.adapter, "") == ([], {})


@pytest.mark.django_db
def test_statistics_have_the_promised_form(cache: APICacheService) -> None:
    cache.set_ruc(RUC, record(RUC))
    cache.set("nubefact:x_1", 1)

    stats = cache.get_cache_stats()

    assert stats["backend"] == cache.backend
    assert stats["status"] == "healthy"
    assert stats["timeouts"] == {"default": "15min", "ruc_valid": "1h", "ruc_invalid": "24h", "rate_limit": "1min"}
    assert stats["services"]["migo"]["keys"] == 1
    assert stats["services"]["migo"]["bytes"] > len(str(record(RUC)))
    assert stats["services"]["nubefact"]["keys"] == 1


@pytest.mark.django_db
def test_cleanup_counts_what_it_really_dropped(cache: APICacheService) -> None:
    cache.add_invalid_ruc(REAL[0])
    cache.set_ruc(REAL[1], record(REAL[1]))
    now = datetime.now(UTC).timestamp()
    # What a clock that was set back leaves behind: the server holds it, its own end is past
    caches["default"].set(f"migo:invalid_{REAL[2]}", {"v": 1, "t": now - 90, "e": now - 30, "d": {"reason": "x"}}, 60)

    assert cache.cleanup_expired() == {"invalid_rucs": 1, "rucs": 0, "other": 0, "nodes_failed": 0}
    assert set(cache.get_all_invalid_rucs()) == {REAL[0]}
    assert cache.get_ruc(REAL[1]) is not None


def test_local_memory_drops_what_expired_unread(use_cache_url: UseCacheUrl) -> None:
    use_cache_url("locmem://clean-up")
    cache = APICacheService()
    cache.add_invalid_ruc(REAL[0], ttl_hours=0.01 / 3600)
    cache.set_ruc(REAL[1], record(REAL[1]), ttl=0.01)
    cache.set_ruc(REAL[2], record(REAL[2]))

    dropped: Counter[str] = Counter()

    def all_dropped() -> bool:
        dropped.update(cache.cleanup_expired())
        return dropped["rucs"] + dropped["invalid_rucs"] >= 2

    wait_until(all_dropped)
    dropped.update(cache.cleanup_expired())
    assert dropped == {"invalid_rucs": 1, "rucs": 1, "other": 0, "nodes_failed": 0}
    assert cache.get_ruc(REAL[2]) is not None


def test_a_foreign_value_is_a_miss_and_never_data(cache: APICacheService) -> None:
    caches["default"].set(f"migo:ruc_{RUC}", ["somebody", "else"])

    assert cache.get_ruc(RUC) is None
    assert cache.read_ruc(RUC).outcome is Outcome.MISS


def test_the_connection_is_verified_at_use_not_by_the_constructor(
    cache_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_service.services.cache_service._verified", False)
    calls: list[str] = []
    monkeypatch.setattr(APICacheService, "_verify_cache_connection", lambda self: calls.append(self.backend))

    service = APICacheService()
    assert calls == []
    service.get("a")
    service.get("b")
    APICacheService().set("c", 1)
    assert calls == [service.backend]
