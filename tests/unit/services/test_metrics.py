"""Names that may be labels, and histograms that take many values at once."""

import pytest
from prometheus_client import CollectorRegistry

from api_service.services import errors, metrics
from api_service.services.errors import UpstreamError, UpstreamTimeout
from api_service.services.metrics import OTHERS, Names, Times
from api_service.services.providers import NotFound


def histogram(name: str) -> Times:
    return Times(name, "help", buckets=(0.1, 1, 5), registry=CollectorRegistry())


def samples(times: Times) -> dict[str, float]:
    [family] = times.collect()
    return {sample.name[1:] + sample.labels.get("le", ""): sample.value for sample in family.samples}


@pytest.mark.parametrize(
    "seconds", [[], [0.05], [0.1, 1.0, 5.0], [0.3, 7.0, 0.05, 0.2, 100.0], [5.0000001] * 3], ids=str
)
def test_many_values_at_once_are_as_if_they_came_one_by_one(seconds: list[float]) -> None:
    at_once, one_by_one = histogram("a"), histogram("b")
    at_once.observe_many(seconds)
    for each in seconds:
        one_by_one.observe(each)
    assert samples(at_once) == pytest.approx(samples(one_by_one))


@pytest.mark.parametrize("name", ["20100038146", "ruc_20100038146", "", "Ñandú", "a" * 51, 'a"b', "x\ny", "RUC"])
def test_what_may_be_somebodys_number_or_no_name_at_all_is_no_label(name: str) -> None:
    assert Names().of("migo", name) == Names().of(name, "ruc") == (OTHERS, OTHERS)


def test_names_as_services_have_them_are_labels() -> None:
    assert Names().of("sunat-2", "tipo_cambio") == ("sunat-2", "tipo_cambio")


def test_endless_names_are_few_labels_and_the_first_ones_stay() -> None:
    names = Names(most=3)
    seen = {names.of("migo", f"{letter}_kind") for letter in "abcdefgh"}
    assert len(seen) == 3 + 1
    assert names.of("migo", "a_kind") == ("migo", "a_kind")
    assert names.of("migo", "h_kind") == (OTHERS, OTHERS)


def test_every_error_of_a_call_has_an_outcome_and_refusals_of_our_own_have_none() -> None:
    codes = {error.code.removeprefix("upstream_") for error in UpstreamError.__subclasses__()}
    assert codes - set(metrics.CALL_OUTCOMES) == {"circuit_open", "not_asked", "not_offered"}
    assert len(set(metrics.CALL_OUTCOMES)) == len(metrics.CALL_OUTCOMES)
    assert errors.UpstreamCircuitOpen.code in metrics.FAILURE_CODES


def value(outcome: str) -> float:
    return float(metrics.UPSTREAM_CALLS.labels("migo", "of_this_test", outcome)._value.get())


def test_a_call_is_counted_once_whatever_its_end() -> None:
    def fail() -> None:
        raise UpstreamTimeout("no answer")

    answer = metrics.timed_call("migo", "of_this_test", lambda: NotFound("NO_EXISTE_SUNAT"))
    metrics.timed_call("migo", "of_this_test", lambda: {"ruc": "…"})
    with pytest.raises(UpstreamTimeout):
        metrics.timed_call("migo", "of_this_test", fail)

    assert answer == NotFound("NO_EXISTE_SUNAT")
    assert {outcome: value(outcome) for outcome in ("ok", "not_found", "timeout")} == {
        "ok": 1,
        "not_found": 1,
        "timeout": 1,
    }


def test_what_is_no_failure_of_the_service_is_no_call() -> None:
    with pytest.raises(ZeroDivisionError):
        metrics.timed_call("migo", "never_called", lambda: 1 / 0)
    assert metrics.UPSTREAM_CALLS.labels("migo", "never_called", "ok")._value.get() == 0
