"""The strict side of our cache backends: what the service layer builds on."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from api_service.caches.node_state import NodeReport


@runtime_checkable
class StrictCache(Protocol):
    """Django's cache API cannot tell a miss from an outage; these methods can.

    All but the two `_many` raise `NodeUnavailable` when the key's node cannot be asked.
    """

    def fetch(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """The value, or `default` when the node says that it has none."""

    def store(self, key: str, value: Any, timeout: float | None = ..., version: int | None = None) -> bool:
        """False when the server refused the value; the key's old value is gone then."""

    def remove(self, key: str, version: int | None = None) -> bool:
        """True when there was something to remove."""

    def add_strict(self, key: str, value: Any, timeout: float | None = ..., version: int | None = None) -> bool:
        """True when stored, False when the key was taken (or the value refused)."""

    def fetch_many(self, keys: Iterable[str], version: int | None = None) -> tuple[dict[str, Any], list[str]]:
        """What was found, and the keys whose node could not be asked."""

    def store_many(
        self, mapping: Mapping[str, Any], timeout: float | None = ..., version: int | None = None
    ) -> list[str]:
        """The keys that were not stored, refused and unreachable alike."""

    def retry_now(self) -> None:
        """Ask the nodes that are left alone anew at the next call: for those who want the present, not the last try."""


@runtime_checkable
class ReportsNodes(Protocol):
    def node_errors(self) -> dict[str, NodeReport]:
        """Errors of every node as this process saw them; empty when there is no network."""
