"""The strict side of our cache backends: what the service layer builds on."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

# Names one state of a key: a number of memcached's, elsewhere the stored bytes
Version: TypeAlias = int | bytes


class Replacement(NamedTuple):
    """A new value for a key that still is of `version`. `timeout` in seconds; 0 leaves nothing there."""

    value: Any
    version: Version
    timeout: float


@runtime_checkable
class StrictCache(Protocol):
    """Django's cache API cannot tell a miss from an outage; these methods can.

    Those for one key raise `NodeUnavailable` when its node cannot be asked; those for many name such keys instead.
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

    def claim_many(
        self, keys: Iterable[str], value: Any, timeout: float, version: int | None = None
    ) -> tuple[dict[str, Version], list[str]]:
        """Put `value` under those that the cache has nothing of: their versions, and the keys whose node is down.

        Atomic for each key: of all that claim it at once, one gets it.
        """

    def fetch_versions(
        self, keys: Iterable[str], version: int | None = None
    ) -> tuple[dict[str, tuple[Any, Version]], list[str]]:
        """As `fetch_many`, with the version of each value; None for one that cannot be read, to be replaced."""

    def replace_many(self, items: Mapping[str, Replacement], version: int | None = None) -> dict[str, Version]:
        """Compare and set: the new version of each key that was of the version given, and so was replaced."""

    def remove_many(self, keys: Iterable[str], version: int | None = None) -> list[str]:
        """The keys whose node could not be asked."""

    def retry_now(self) -> None:
        """Ask the nodes that are left alone anew at the next call: for those who want the present, not the last try."""
