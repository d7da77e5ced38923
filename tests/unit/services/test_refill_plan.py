import orjson
import pytest

from api_service.caches.serializer import dumps, loads
from api_service.services.envelope import unwrap, wrap
from api_service.services.health_rules import NodeFacts
from api_service.services.outcomes import Outcome
from api_service.services.refill_plan import ends_at, enveloped, other_boot, ratio_between

NOW = 1_795_362_562.125
HOUR = 3600.0


def facts(pid: int = 7, booted: float = 1000.0, hits: int | None = 0, misses: int | None = 0) -> NodeFacts:
    return NodeFacts("a:11211", reachable=True, pid=pid, booted_at=booted, hits=hits, misses=misses)


def test_an_answer_of_forty_minutes_gets_the_twenty_that_are_left() -> None:
    assert ends_at(NOW - 2400, HOUR, NOW, chance=0.0) == NOW + 1200


@pytest.mark.parametrize("chance", [0.0, 0.25, 0.5, 1.0])
def test_jitter_takes_up_to_a_tenth_of_what_is_left_and_never_adds(chance: float) -> None:
    ends = ends_at(NOW - 2400, HOUR, NOW, chance)

    assert ends == pytest.approx(NOW + 1200 - 120 * chance)


def test_what_would_end_at_once_is_left_out() -> None:
    assert ends_at(NOW - HOUR + 4.9, HOUR, NOW, 0.0) is None
    assert ends_at(NOW - HOUR + 5.0, HOUR, NOW, 0.0) == NOW + 5
    assert ends_at(NOW - 2 * HOUR, HOUR, NOW, 0.0) is None


def test_an_answer_of_a_clock_that_runs_ahead_lives_no_longer_than_allowed() -> None:
    assert ends_at(NOW + 600, HOUR, NOW, 0.0) == NOW + HOUR


@pytest.mark.parametrize(
    "data",
    [
        {"ruc": "20100038146", "nombre_o_razon_social": 'CIA "ÑANDÚ" S.A.C.', "direccion": "a\\b\tc\n", "n": 1.5},
        {},
        [1, None, "é\u2028"],
    ],
)
def test_the_bytes_mean_what_wrap_and_the_serializer_make_of_the_answer(data: object) -> None:
    born, ends = NOW - 2400, ends_at(NOW - 2400, HOUR, NOW, 0.3)
    assert ends is not None
    made = enveloped(orjson.dumps(data), born, ends)

    assert loads(made) == loads(dumps(wrap(data, NOW, ends - NOW, born_at=born), "key"))
    read = unwrap(loads(made))
    assert (read.outcome, read.value, read.born_at) == (Outcome.HIT, data, round(born, 3))
    assert read.expires_at == round(ends, 3)


def test_a_stored_text_with_spaces_is_carried_as_it_is() -> None:
    assert unwrap(loads(enveloped(b'{"a": [1, 2]}', NOW, NOW + 1))).value == {"a": [1, 2]}


def test_another_boot_is_told_by_process_or_by_time() -> None:
    assert not other_boot(facts(pid=7, booted=1002.0), 7, 1000.0)
    assert other_boot(facts(pid=8, booted=1000.0), 7, 1000.0)
    assert other_boot(facts(pid=1, booted=1004.0), 1, 1000.0)


def test_the_ratio_is_of_what_was_asked_since() -> None:
    before, after = facts(hits=900, misses=100), facts(hits=950, misses=250)

    assert ratio_between(after, before, health_runs=1) == 0.25
    assert ratio_between(after, None, health_runs=1) == 950 / 1200


def test_counters_of_an_earlier_boot_do_not_count() -> None:
    assert ratio_between(facts(pid=8, hits=30, misses=10), facts(pid=7, hits=10, misses=5), health_runs=1) == 0.75


def test_the_watching_alone_is_nobody() -> None:
    assert ratio_between(facts(hits=0, misses=0), None, health_runs=0) is None
    assert ratio_between(facts(hits=5, misses=1), None, health_runs=1) is None
    assert ratio_between(facts(hits=5, misses=2), None, health_runs=1) == 5 / 7
    assert ratio_between(facts(hits=None, misses=None), None, health_runs=1) is None


def test_counters_that_were_set_back_are_counted_from_there() -> None:
    assert ratio_between(facts(hits=30, misses=10), facts(hits=900, misses=100), health_runs=1) == 0.75
