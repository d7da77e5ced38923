from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import uuid4

import pytest

from api_service.caches.serializer import JSONSerializer, Unreadable, dumps, loads


class Colour(Enum):
    RED = "red"


class Text(str):
    __slots__ = ()


@dataclass
class Point:
    x: int


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)

ALTERED = [
    datetime(2026, 1, 28, tzinfo=UTC),
    date(2026, 1, 28),
    Decimal("3.751"),
    {1, 2},
    b"bytes",
    Point(1),
    uuid4(),
    Colour.RED,
    Text("text"),
    OrderedDict(a=1),
    float("nan"),
    float("inf"),
    2**64,
    {1: "a key that is no text"},
    "\ud800",
    CIRCLE,
    object(),
]


@pytest.mark.parametrize("value", ALTERED, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    "wrap", [lambda value: value, lambda value: {"data": [1, (None, value)]}], ids=["bare", "deep"]
)
def test_a_value_that_json_would_change_is_refused_by_the_name_of_its_key(value: Any, wrap: Any) -> None:
    with pytest.raises(TypeError, match="cache key 'migo:ruc_20100038146' is not JSON"):
        dumps(wrap(value), "migo:ruc_20100038146")


@pytest.mark.parametrize(
    "value", [None, True, False, 0, -7, 2**64 - 1, 1.5, "", "Ñandú 🎉", [], {}, {"a": [1, {"b": [None, 2.5, "x"]}]}]
)
def test_json_comes_back_as_it_was(value: Any) -> None:
    again = loads(dumps(value, "key"))
    assert again == value
    assert type(again) is type(value)


def test_a_tuple_comes_back_as_a_list() -> None:
    assert loads(dumps((1, (2, 3)), "key")) == [1, [2, 3]]


def test_a_whole_number_is_stored_as_digits_that_the_server_can_count_with() -> None:
    assert dumps(42, "key") == b"42"
    # memcached pads a number that became shorter
    assert loads(b"9 ") == 9


@pytest.mark.parametrize("data", [b"", b"{", b"\x80\x05K\x01.", b"nan"])
def test_what_is_not_json_is_unreadable_and_never_unpickled(data: bytes) -> None:
    with pytest.raises(Unreadable, match="broken JSON"):
        loads(data)


def test_the_serializer_fits_djangos_redis_cache() -> None:
    serializer = JSONSerializer()
    assert serializer.loads(serializer.dumps({"a": 1})) == {"a": 1}
    with pytest.raises(TypeError, match="not JSON"):
        serializer.dumps(b"bytes")
