from collections import Counter

import pytest
from django.core.exceptions import ImproperlyConfigured

from api_service.caches.placement import Placement, parse_servers

NODES = ["10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:11211"]
KEYS = [f":1:migo:ruc_{20100000000 + number}" for number in range(3000)]


def test_three_nodes_share_the_keys_evenly() -> None:
    placement = Placement(NODES)
    counts = Counter(placement.node_for(key) for key in KEYS)
    assert set(counts) == set(NODES)
    assert all(0.25 <= count / len(KEYS) <= 0.42 for count in counts.values()), counts


def test_removing_a_node_moves_only_that_nodes_keys() -> None:
    before, after = Placement(NODES), Placement(NODES[:2])
    moved = {key for key in KEYS if before.node_for(key) != after.node_for(key)}
    assert moved == {key for key in KEYS if before.node_for(key) == NODES[2]}
    assert moved


def test_the_order_of_the_nodes_does_not_matter() -> None:
    assert [Placement(NODES).node_for(key) for key in KEYS] == [Placement(NODES[::-1]).node_for(key) for key in KEYS]


def test_a_single_node_has_every_key() -> None:
    placement = Placement(NODES[:1])
    assert {placement.node_for(key) for key in KEYS} == {NODES[0]}


@pytest.mark.parametrize(
    "location",
    ["cache:11211,[::1]:11212", "cache ; unix:/run/m.sock", ["cache", "[::1]:11212"], " cache:11211 , [::1]:11212,"],
)
def test_a_location_is_a_list_or_a_text(location: str | list[str]) -> None:
    names = list(parse_servers(location))
    assert names[0] == "cache:11211"
    assert len(names) == 2


def test_names_are_canonical_and_unique() -> None:
    assert parse_servers("cache,cache:11211,[::1]:1,unix:/run/m.sock") == {
        "cache:11211": ("cache", 11211),
        "[::1]:1": ("::1", 1),
        "unix:/run/m.sock": "/run/m.sock",
    }


@pytest.mark.parametrize("location", ["", " , ", [], "cache:port"])
def test_a_location_without_a_usable_server_is_refused(location: str | list[str]) -> None:
    with pytest.raises(ImproperlyConfigured, match="LOCATION"):
        parse_servers(location)
