"""What a chart says in words, in its table and to the script that draws it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils.translation import override

from api_service.admin.dashboard import charts, money, timeline
from api_service.admin.dashboard.charts import Chart, Colour, Shape, series
from api_service.admin.dashboard.timeline import WIDTH, Bar, Trouble
from api_service.services.budget_rules import Caps

NOW = datetime(2026, 1, 28, 19, 47, tzinfo=UTC)


def chart(*values: float | None) -> Chart:
    heads = tuple(f"{number}:00" for number in range(len(values)))
    line = series("hits", values, Colour.GOOD)
    return Chart("key", "Title", Shape.LINE, heads, heads, (line,), empty="nothing")


def test_what_was_not_measured_is_a_gap_and_no_zero() -> None:
    drawn = json.loads(chart(5, None, 0).data)
    assert drawn["series"][0]["values"] == [5, None, 0]


def test_the_table_has_the_newest_first_and_no_empty_rows() -> None:
    assert chart(5, None, 0).rows == [("2:00", "0"), ("0:00", "5")]


def test_a_chart_of_gaps_is_empty_and_one_of_zeros_is_not() -> None:
    assert chart(None, None).is_empty
    assert not chart(0).is_empty


def test_a_share_of_nothing_is_not_known() -> None:
    assert charts.parts([1, 0, None], [4, 0, None]) == [25.0, None, None]


def test_a_sum_over_series_is_a_gap_only_where_all_are() -> None:
    assert charts.total([[1, None, None], [2, 3, None]]) == [3, 3, None]


def test_a_line_in_words_says_its_ends_and_the_last_value() -> None:
    with override("en"):
        assert charts.span([None, 4, 2, None], str) == "between 2 and 4, last 2"
    assert charts.span([None], str) == ""


@pytest.mark.parametrize(("language", "written"), [("es", "S/\xa01,234.50"), ("en", "S/\xa01,234.50")])
def test_money_is_written_as_in_peru(language: str, written: str) -> None:
    with override(language):
        assert money.soles(2469, Decimal("0.5")) == written
        assert money.soles(2469, Decimal(0)) == ""


def test_what_is_saved_is_what_the_cache_answered_less_what_warming_paid() -> None:
    counts = {"hit": 800, "negative": 100, "stale": 20, "miss": 70, "outage": 10}
    with override("en"):
        assert money.saved(counts, 50, Decimal("0.1")) == money.Saved("850", "S/\xa085.00", "85.0 %")
        assert money.saved({"hit": 10}, 25, Decimal(0)) == money.Saved("0", "", "0.0 %")
        assert money.saved({}, 0, Decimal(0)).share == "–"


def test_a_cap_says_what_all_and_what_warming_used() -> None:
    caps = Caps(hour=100, day=0, warm_share=0.5)
    local = NOW.astimezone()
    spent = {("migo", "user"): 70, ("migo", "warm"): 30, ("sunat", "user"): 5}
    ledger = money.Ledger(shown={"user": 75, "warm": 30}, capped={"hour": spent})
    with override("en"):
        of_one = money.spend(ledger, ["migo"], caps, local, Decimal(0), []).caps
        of_two = money.spend(ledger, ["migo", "sunat"], caps, local, Decimal(0), []).caps
    assert of_one == (money.Cap("this hour", 100, 100, "100 of 100", "warming: 30 of 50", is_reached=True),)
    assert [(cap.name, cap.text) for cap in of_two] == [
        ("this hour, migo", "100 of 100"),
        ("this hour, sunat", "5 of 100"),
    ]


# -- the time line of incidents


def bars(*found: Trouble) -> list[Bar]:
    start = NOW - timedelta(hours=10)
    return timeline._merged(timeline._bar(one, start, NOW) for one in found)


def trouble(begins: float, ends: float | None, *, is_bad: bool = True) -> Trouble:
    """Hours ago."""
    end = None if ends is None else NOW - timedelta(hours=ends)
    return Trouble("node_down", is_bad, NOW - timedelta(hours=begins), end)


def test_what_is_open_reaches_to_now_and_what_began_earlier_to_the_beginning() -> None:
    assert bars(trouble(5, None)) == [Bar(500, 500, "bad")]
    assert bars(trouble(50, 9)) == [Bar(0, 100, "bad")]


def test_a_trouble_of_a_second_is_still_seen() -> None:
    assert bars(trouble(0.0001, None)) == [Bar(WIDTH - timeline.NARROWEST, timeline.NARROWEST, "bad")]


def test_a_thousand_troubles_that_touch_are_one_bar() -> None:
    found = [trouble(9 - number / 1000, 8.9 - number / 1000) for number in range(1000)]
    assert len(bars(*found)) == 1


def test_what_is_bad_lies_on_top_of_what_only_warns() -> None:
    assert [bar.tone for bar in bars(trouble(5, 1), trouble(9, 2, is_bad=False))] == ["warning", "bad"]
