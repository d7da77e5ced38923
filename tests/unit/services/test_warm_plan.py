import pytest

from api_service.services.warm_plan import Candidate, jittered, plan

NOW = 1000.0
A, B, C = (Candidate(name, reads) for name, reads in (("a", 5), ("b", 9), ("c", 5)))


def due(
    candidates: list[Candidate], expires_at: dict[str, float], negative: set[str] | None = None, limit: int = 10
) -> tuple[list[str], dict[str, int]]:
    planned = plan(candidates, expires_at, frozenset(negative or ()), now=NOW, lead=600, limit=limit)
    return list(planned.due), dict(planned.skipped)


def test_the_most_read_come_first_and_equals_in_a_fixed_order() -> None:
    assert due([C, A, B], {}) == (["b", "a", "c"], {})


def test_what_outlives_the_lead_is_fresh_and_what_ends_within_it_is_due() -> None:
    assert due([A, B], {"a": NOW + 600.1, "b": NOW + 600}) == (["b"], {"fresh": 1})
    assert due([A], {"a": NOW - 5}) == (["a"], {})


def test_the_limit_counts_what_is_refreshed_not_what_is_looked_at() -> None:
    assert due([A, B, C], {"b": NOW + 9999}, limit=1) == (["a"], {"fresh": 1, "over_limit": 1})
    assert due([A, B], {}, limit=0) == ([], {"over_limit": 2})


def test_a_ruc_known_not_to_exist_is_never_asked_for() -> None:
    assert due([A, B], {"a": NOW - 5}, {"a"}) == (["b"], {"known_invalid": 1})


def test_no_candidates_no_plan() -> None:
    assert due([], {"a": NOW}) == ([], {})


@pytest.mark.parametrize("draw", [0.0, 0.25, 0.5, 0.999_999])
def test_a_spread_life_is_shorter_by_a_tenth_at_most_and_never_longer(draw: float) -> None:
    assert 3240 < jittered(3600, draw) <= 3600
    assert jittered(3600, 0.0) == 3600
    assert jittered(3600, draw) == pytest.approx(3600 - 360 * draw)
