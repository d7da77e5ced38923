import pickle
from datetime import UTC, datetime

import orjson
import pytest

from api_service.services.errors import (
    UpstreamAuthRefused,
    UpstreamBadAnswer,
    UpstreamError,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamServerError,
    UpstreamTimeout,
)
from api_service.services.upstream import Response, delay_before_retry, error_for, json_of, retry_after_seconds

NOW = datetime(2026, 1, 28, 15, 30, tzinfo=UTC)


def response(status: int, body: bytes = b"", **headers: str) -> Response:
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, 0.0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Wed, 28 Jan 2026 15:31:30 GMT", 90.0),
        ("Wed, 28 Jan 2026 15:00:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        ("²", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_names_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds


def test_nobody_asks_again_earlier_than_told() -> None:
    error = UpstreamRateLimited("slow down", retry_after=4.0)
    delays = [delay_before_retry(error, attempt=1, left=10.0, chance=chance) for chance in (0.0, 0.5, 1.0)]
    assert all(delay is not None and 4.0 <= delay < 4.2 for delay in delays)


def test_a_wait_beyond_the_deadline_means_giving_up_now() -> None:
    assert delay_before_retry(UpstreamRateLimited("x", retry_after=30.0), attempt=1, left=10.0, chance=0.0) is None
    assert delay_before_retry(UpstreamServerError("x"), attempt=9, left=1.0, chance=0.0) is None


def test_waits_grow_differ_and_have_an_upper_limit() -> None:
    error = UpstreamTimeout("x")
    early = [delay_before_retry(error, attempt=1, left=99.0, chance=chance) for chance in (0.0, 1.0)]
    late = delay_before_retry(error, attempt=30, left=99.0, chance=1.0)
    assert early[0] != early[1]
    assert early == [pytest.approx(0.1), pytest.approx(0.2)]
    assert late == pytest.approx(5.0)


@pytest.mark.parametrize("error", [UpstreamAuthRefused("x"), UpstreamMalformed("x"), ValueError("x")])
def test_only_what_may_pass_is_tried_again(error: Exception) -> None:
    assert delay_before_retry(error, attempt=1, left=99.0, chance=0.0) is None


@pytest.mark.parametrize(
    ("status", "kind", "permanent"),
    [
        (301, UpstreamBadAnswer, True),
        (400, UpstreamRefused, True),
        (401, UpstreamAuthRefused, True),
        (403, UpstreamAuthRefused, True),
        (404, UpstreamRefused, True),
        (408, UpstreamServerError, False),
        (410, UpstreamRefused, True),
        (422, UpstreamMalformed, True),
        (429, UpstreamRateLimited, False),
        (500, UpstreamServerError, False),
        (503, UpstreamServerError, False),
    ],
)
def test_a_status_becomes_an_error_that_carries_the_decision(
    status: int, kind: type[UpstreamError], permanent: bool
) -> None:
    error = error_for(response(status, Retry_After="5"), NOW)
    assert type(error) is kind
    assert (error.permanent, error.status, error.retry_after) == (permanent, status, 5.0)
    assert error.next_step
    assert error.code.startswith("upstream_")


def test_success_is_no_error() -> None:
    assert error_for(response(200), NOW) is None
    assert error_for(response(204), NOW) is None


def test_prices_sent_as_numbers_stay_the_decimals_they_were() -> None:
    body = json_of(response(200, b'\xef\xbb\xbf{"precio_compra": 3.70, "n": 1e400}'))
    assert body == {"precio_compra": "3.70", "n": "1e400"}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (r'"CAF\ud83dE"', "CAF?E"),
        (r'["\uDC00 \uD83D\uDE00", {"\ud800": 1}]', ["? \U0001f600", {"?": 1}]),
        (r'{"nombre": "A\u0000B"}', {"nombre": "A?B"}),
        ("[18446744073709551615, -9223372036854775808]", [2**64 - 1, -(2**63)]),
        ("[18446744073709551616, -9223372036854775809]", ["18446744073709551616", "-9223372036854775809"]),
        ("9" * 5000, "9" * 5000),
    ],
    ids=["half a pair", "halves beside a pair", "NUL", "64 bits", "more", "thousands of digits"],
)
def test_what_no_cache_could_keep_is_kept_as_a_text_that_it_can(sent: str, kept: object) -> None:
    """What cannot be kept would be paid for with each request, and fail every batch that it is in."""
    body = json_of(response(200, sent.encode()))
    assert body == kept
    assert orjson.loads(orjson.dumps(body)) == kept


@pytest.mark.parametrize("around", [("[", "]"), ('{"a": ', "}")], ids=["lists", "objects"])
def test_what_is_nested_deeper_than_a_cache_takes_is_a_bad_answer(around: tuple[str, str]) -> None:
    opening, closing = around
    taken = json_of(response(200, (opening * 200 + "1" + closing * 200).encode()))
    assert orjson.loads(orjson.dumps({"results": [{"record": taken}]}))
    # The first that orjson does not write by itself is 255
    for levels in (201, 255, 400):
        with pytest.raises(UpstreamBadAnswer):
            json_of(response(200, (opening * levels + "1" + closing * levels).encode()))


@pytest.mark.parametrize("body", [b"<html>502</html>", b"", b'{"a": ', b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_a_bad_answer_that_may_pass(body: bytes) -> None:
    with pytest.raises(UpstreamBadAnswer) as caught:
        json_of(response(200, body))
    assert not caught.value.permanent
    assert caught.value.status == 200


def test_errors_survive_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UpstreamRateLimited("slow", status=429, retry_after=3.0)))
    assert dict(error.facts())["retry_after"] == 3.0
    assert error.message == "slow"


def test_codes_are_unique() -> None:
    kinds = UpstreamError.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds) >= 9
