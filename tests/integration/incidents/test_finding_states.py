"""What one run means depends on those before it, whatever dies or runs at the same time."""

import pytest
from pytest_django import Settings

from api_service.models import FindingState, HealthSample
from api_service.services import finding_states, redaction
from api_service.services.health_rules import Finding, Severity
from tests.integration.incidents.conftest import NODES, at, budget, down, slow, stored

pytestmark = pytest.mark.django_db


def found(sample: HealthSample) -> list[tuple[str, str, bool]]:
    return [(one["code"], one["node"], one["counts"]) for one in sample.findings]


def test_one_failed_probe_is_kept_but_does_not_count() -> None:
    sample = stored(0, down())
    assert found(sample) == [("node_down", NODES[0], False)]
    assert sample.status == "healthy"
    assert sample.findings[0]["since"] == at(0).isoformat()


def test_the_second_one_counts_since_the_first() -> None:
    stored(0, down())
    sample = stored(5, down())
    assert found(sample) == [("node_down", NODES[0], True)]
    assert (sample.status, sample.findings[0]["since"]) == ("unhealthy", at(0).isoformat())


def test_what_counts_stays_until_enough_good_runs() -> None:
    for minutes in (0, 5):
        stored(minutes, down())
    assert found(stored(10)) == [("node_down", NODES[0], True)]
    over = stored(15)
    assert (found(over), over.status) == ([], "healthy")


def test_nodes_are_counted_apart() -> None:
    stored(0, down(NODES[0]))
    assert found(stored(5, down(NODES[1]))) == [("node_down", NODES[1], False)]


def test_money_counts_at_first_sight() -> None:
    assert stored(0, budget()).status == "warning"


def test_what_a_run_could_not_judge_is_neither_good_nor_bad() -> None:
    for minutes in (0, 5, 10, 15, 20):
        stored(minutes, slow())
    unknown = [stored(minutes, unknown=[("node_slow", NODES[0])]) for minutes in (25, 30, 35, 40)]
    assert [found(sample) for sample in unknown] == [[("node_slow", NODES[0], True)]] * 4
    assert found(stored(45, unknown=[("node_slow", "*")])) == [("node_slow", NODES[0], True)]
    assert FindingState.objects.get().seen_at == at(20)
    # Three that could judge it end it
    assert [found(stored(minutes)) for minutes in (50, 55, 60)][-1] == []


def test_what_had_too_little_traffic_for_half_a_day_is_no_longer_in_the_list(settings: Settings) -> None:
    settings.HEALTH_UNJUDGED_HOURS = 12
    poor = Finding("hit_ratio_low", Severity.WARNING, NODES[0], 0.1, 0.2)
    for minutes in (0, 5, 10):
        stored(minutes, poor)
    quiet = [("hit_ratio_low", NODES[0])]
    last = 10 + 12 * 60
    assert found(stored(last - 1, unknown=quiet)) == [("hit_ratio_low", NODES[0], True)]
    over = stored(last, unknown=quiet)
    assert (found(over), over.status) == ([], "healthy")
    # And it takes as many bad runs as ever to count again
    assert found(stored(last + 5, poor)) == [("hit_ratio_low", NODES[0], False)]


def test_a_burst_of_confirmations_does_not_make_a_slow_node_of_a_slow_minute() -> None:
    samples = [stored(minutes, slow(), down(NODES[1])) for minutes in (0, 1 / 3, 2 / 3, 1)]
    assert found(samples[-1]) == [("node_down", NODES[1], True), ("node_slow", NODES[0], False)]


def test_a_setting_changes_how_many_runs_it_takes(settings: Settings) -> None:
    settings.HEALTH_RULES = "node_down=1/1/1"
    assert stored(0, down()).status == "unhealthy"
    assert stored(5).status == "healthy"


def test_of_two_findings_in_one_place_the_worse_one_is_kept() -> None:
    sample = stored(0, budget(Severity.UNHEALTHY), budget())
    assert [one["severity"] for one in sample.findings] == ["unhealthy"]


def test_a_run_older_than_the_last_one_changes_nothing() -> None:
    stored(0, down())
    stored(5, down())
    state = FindingState.objects.values().get()
    late = stored(2)
    assert FindingState.objects.values().get() == state
    assert late.status == "unhealthy"


def test_states_that_do_not_matter_any_more_are_dropped(settings: Settings) -> None:
    stored(0, down())
    stored(5)
    stored(10)
    assert not FindingState.objects.exists()
    # One that has counted is kept as long as its changes tell of coming and going
    for minutes in (15, 20):
        stored(minutes, down())
    for minutes in (25, 30, 80):
        stored(minutes)
    assert FindingState.objects.count() == 1
    stored(91)
    assert not FindingState.objects.exists()


def test_a_password_in_an_error_goes_no_further() -> None:
    redaction.register_secrets(["cache-password-123"])
    sample = stored(0, down(said="AUTH cache-password-123 refused"))
    assert "cache-password-123" not in str(sample.findings) + str(FindingState.objects.values().get())
    assert "[redacted]" in str(sample.findings)


def test_a_zero_byte_in_an_error_breaks_no_run() -> None:
    """PostgreSQL stores none. What answers on the port of a node need not be a memcached."""
    stored(0, down(said="said \x00\x01"))
    assert stored(5, down(said="said \x00\x01")).findings[0]["value"] == "said \ufffd\x01"


def test_a_node_of_five_hundred_characters_breaks_no_run() -> None:
    stored(0, down("n" * 500))
    assert found(stored(5, down("n" * 500))) == [("node_down", "n" * 255, True)]


def test_another_run_is_wanted_where_the_last_one_contradicts_what_is_known() -> None:
    assert not finding_states.is_anything_doubtful()
    stored(0, down())
    assert finding_states.is_anything_doubtful()
    stored(5, down())
    assert not finding_states.is_anything_doubtful()
    stored(10)
    assert finding_states.is_anything_doubtful()
    stored(15)
    assert not finding_states.is_anything_doubtful()


def test_a_finding_newer_than_the_table_of_policies_is_counted_by_the_default() -> None:
    new = Finding("of_tomorrow", Severity.WARNING)
    assert [stored(minutes, new).status for minutes in (0, 5)] == ["healthy", "warning"]
