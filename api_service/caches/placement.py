"""Which node a key lives on: pure, so that inventory, refill and cache all agree."""

import re
from collections.abc import Sequence
from hashlib import blake2b

from django.core.exceptions import ImproperlyConfigured
from pymemcache.client.base import normalize_server_spec
from pymemcache.client.rendezvous import RendezvousHash

Server = tuple[str, int] | str


def parse_servers(location: str | Sequence[str]) -> dict[str, Server]:
    """Canonical node name -> address, from a list or a `host:port,host:port` text.

    Names are canonical because they are hashed: `cache` and `cache:11211` are one node and must
    place keys alike in every process, however its settings spell it.
    """
    texts = re.split("[;,]", location) if isinstance(location, str) else location
    servers = [_address(text.strip()) for text in texts if text.strip()]
    if not servers:
        raise ImproperlyConfigured("LOCATION names no memcached server")
    return {_name(server): server for server in servers}


def _address(text: str) -> Server:
    try:
        server: Server = normalize_server_spec(text)
    except ValueError as error:
        raise ImproperlyConfigured(f"LOCATION has no valid server in {text!r}") from error
    return server


def _name(server: Server) -> str:
    if isinstance(server, str):
        return f"unix:{server}"
    host, port = server
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _score(text: str, _seed: int) -> int:
    # pymemcache's own murmur3 is pure Python (twenty times slower), and crc32 is linear: its
    # scores for two nodes differ by a constant, so one node would win far too often
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


class Placement:
    """Rendezvous hashing: removing a node moves only that node's keys."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self.nodes = tuple(dict.fromkeys(nodes))
        self._only = self.nodes[0] if len(self.nodes) == 1 else None
        self._ring = RendezvousHash(nodes=list(self.nodes), hash_function=_score)

    def node_for(self, wire_key: str) -> str:
        """The node of a full key (prefix and version included)."""
        if self._only is not None:
            return self._only
        node: str = self._ring.get_node(wire_key)
        return node
