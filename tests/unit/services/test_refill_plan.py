import orjson
import pytest

from api_service.caches.serializer import dumps, loads
from api_service.services.backends import Item
from api_service.services.envelope import unwrap, wrap
from api_service.services.keys import normalize
from api_service.services.node_facts import NodeFacts, OwnReads
from api_service.services.outcomes import Outcome
from api_service.services.refill_plan import LifeOf, items, other_boot, ratio_between

NOW = 1_795_362_562.125
HOUR = 3600.0


def facts(pid: int = 7, booted: float = 1000.0, hits: int | None = 0, misses: int | None = 0) -> NodeFacts:
    return NodeFacts("a:11211", reachable=True, pid=pid, booted_at=booted, hits=hits, misses=misses)


def made(
    data: object = None,
    *,
    born: float = NOW - 2400,
    chance: float = 0.0,
    life: float | LifeOf = HOUR,
    name: str = "migo:ruc_20100038146",
    prefix: str = ":1:",
    stale: float = 0.0,
) -> Item | None:
    """What is written of one answer."""
    rows = [("ruc", name, orjson.dumps(data), born)]
    return next(items(rows, prefix, {"ruc": life}, {"ruc": stale}, NOW, lambda: chance), None)


def end_of(item: Item | None) -> float | None:
    return item.expires_at if item else None


def test_an_answer_of_forty_minutes_gets_the_twenty_that_are_left() -> None:
    assert end_of(made()) == NOW + 1200


@pytest.mark.parametrize("chance", [0.0, 0.25, 0.5, 1.0])
def test_jitter_takes_up_to_a_tenth_of_what_is_left_and_never_adds(chance: float) -> None:
    assert end_of(made(chance=chance)) == pytest.approx(NOW + 1200 - 120 * chance)


def test_past_its_end_it_stays_for_as_long_as_it_may_be_shown() -> None:
    item = made(stale=900.0)
    assert item is not None
    assert item.expires_at == NOW + 1200 + 900
    assert unwrap(loads(item.data), NOW).expires_at == NOW + 1200


def test_what_would_end_at_once_is_left_out() -> None:
    assert made(born=NOW - HOUR + 4.9) is None
    assert end_of(made(born=NOW - HOUR + 5.0)) == NOW + 5
    assert made(born=NOW - 2 * HOUR) is None


def test_an_answer_of_a_clock_that_runs_ahead_lives_no_longer_than_allowed() -> None:
    assert end_of(made(born=NOW + 600)) == NOW + HOUR


def test_a_kind_may_have_a_life_for_each_answer() -> None:
    def life(name: str, born: float) -> float:
        assert (name, born) == ("migo:ruc_20100038146", NOW - 2400)
        return 2500.0

    assert end_of(made(life=life)) == NOW + 100


@pytest.mark.parametrize(
    "data",
    [
        {"ruc": "20100038146", "nombre_o_razon_social": 'CIA "ÑANDÚ" S.A.C.', "direccion": "a\\b\tc\n", "n": 1.5},
        {},
        [1, None, "é\u2028"],
    ],
)
def test_the_bytes_mean_what_wrap_and_the_serializer_make_of_the_answer(data: object) -> None:
    item = made(data, chance=0.3)
    assert item is not None
    assert item.expires_at is not None

    wrapped = wrap(data, NOW, item.expires_at - NOW, born_at=NOW - 2400)
    assert loads(item.data) == loads(dumps(wrapped, "key"))
    read = unwrap(loads(item.data), NOW)
    assert (read.outcome, read.value, read.born_at) == (Outcome.HIT, data, round(NOW - 2400, 3))
    assert read.expires_at == round(item.expires_at, 3)


@pytest.mark.parametrize(
    "name",
    [
        "migo:ruc_20100038146",
        "migo:x_a b",
        "migo:x_ñ",
        f"migo:x_{'y' * 300}",
        f"migo:x~{'0' * 32}",
        "migo:x_a~b",
        "m:x_\n",
    ],
)
@pytest.mark.parametrize("prefix", [":1:", "team:7:"])
def test_the_key_is_the_one_that_the_cache_looks_for(name: str, prefix: str) -> None:
    item = made(name=name, prefix=prefix)
    assert item is not None
    assert item.key == prefix + normalize(name, len(prefix))
    assert type(item) is Item


def test_another_boot_is_told_by_process_or_by_time() -> None:
    assert not other_boot(facts(pid=7, booted=1002.0), 7, 1000.0)
    assert other_boot(facts(pid=8, booted=1000.0), 7, 1000.0)
    assert other_boot(facts(pid=1, booted=1004.0), 1, 1000.0)


def test_the_ratio_is_of_what_was_asked_since() -> None:
    before, after = facts(hits=900, misses=100), facts(hits=950, misses=250)

    assert ratio_between(after, before, health_runs=0) == 0.25
    assert ratio_between(after, None, health_runs=0) == 950 / 1200


def test_the_round_trips_of_health_runs_are_nobodys_hits() -> None:
    assert ratio_between(facts(hits=50, misses=30), None, health_runs=4) == 0.5
    assert ratio_between(facts(hits=9, misses=90), None, health_runs=4) == 0.0


def test_nor_are_those_of_an_operation_of_ours() -> None:
    before, after = facts(hits=900, misses=100), facts(hits=950, misses=250)
    assert ratio_between(after, before, health_runs=0, own=[OwnReads(905, 940, 30)]) == 20 / 170
    assert ratio_between(after, before, health_runs=0, own=[OwnReads(905, 940, 30, 100)]) == 20 / 70
    assert ratio_between(after, None, health_runs=0, own=[OwnReads(100, 900, 800)]) == 150 / 400


def test_there_is_no_ratio_since_a_count_that_was_read_amid_reads_of_ours() -> None:
    before, after = facts(hits=900, misses=100), facts(hits=950, misses=250)
    assert ratio_between(after, before, health_runs=0, own=[OwnReads(890, 910, 20)]) is None


def test_counters_of_an_earlier_boot_do_not_count() -> None:
    assert ratio_between(facts(pid=8, hits=30, misses=10), facts(pid=7, hits=10, misses=5), health_runs=0) == 0.75


def test_the_watching_alone_is_nobody() -> None:
    assert ratio_between(facts(hits=0, misses=0), None, health_runs=0) is None
    assert ratio_between(facts(hits=10, misses=8), None, health_runs=1) is None
    assert ratio_between(facts(hits=11, misses=8), None, health_runs=1) == 6 / 14
    assert ratio_between(facts(hits=None, misses=None), None, health_runs=1) is None


def test_counters_that_were_set_back_are_counted_from_there() -> None:
    assert ratio_between(facts(hits=30, misses=10), facts(hits=900, misses=100), health_runs=0) == 0.75
