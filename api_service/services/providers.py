"""Who answers paid look-ups. A new provider is one class and one row of TABLE."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from time import sleep
from typing import Any, Final, Protocol, Self, TypeAlias, TypeVar

from django.utils.module_loading import import_string

from api_service.sentences import sentence
from api_service.services.errors import UpstreamError

T = TypeVar("T")

# The provider's own record, kept whole: unknown fields are data too.
JSONDict: TypeAlias = dict[str, Any]

TABLE: Final[dict[str, str]] = {
    "migo": "api_service.services.migo_client.MigoClient",
}


@dataclass(frozen=True)
class Found:
    data: JSONDict


@dataclass(frozen=True)
class NotFound:
    """An answer, paid for like any other: the thing asked for does not exist, and why."""

    reason: str


Answer: TypeAlias = Found | NotFound


class SpendLater(Exception):
    """There is no place for the call yet: `spend` is to be asked again in `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(sentence("no place for the call before %(seconds)s s") % {"seconds": f"{seconds:.1f}"})
        self.seconds = seconds


class Spend(Protocol):
    """Told before every HTTP attempt that may cost money. SpendLater puts it off; else what it raises forbids it."""

    def __call__(self, queries: int, *, retry: bool) -> None: ...


def wait_and_spend(spend: Spend, queries: int, *, retry: bool) -> None:
    """`spend`, as soon as it has a place: for a call beside which nothing else is to be done."""
    when_there_is_a_place(partial(spend, queries, retry=retry))


def when_there_is_a_place(act: Callable[[], T]) -> T:
    """What `act` returns once it does not put it off any more."""
    while True:
        try:
            return act()
        except SpendLater as later:
            sleep(later.seconds)


class Answered(Protocol):
    """Given the answers of each call as it ends: what was paid for is kept before the next is asked for."""

    def __call__(self, answers: Mapping[str, Answer], /) -> None: ...


class Claims(Protocol):
    """Whose a call's identifiers are while it is made: decided call by call, at the last moment."""

    def take(self, identifiers: Sequence[str], /) -> Sequence[str]:
        """Those to ask for, before `spend` is told. SpendLater puts the call off; else what it raises forbids it."""

    def give_up(self, identifiers: Sequence[str], /) -> None:
        """The call is over, after `answered` had what it brought; or it was put off and takes them anew."""


class Unclaimed:
    """Nobody else asks for them."""

    def take(self, identifiers: Sequence[str], /) -> Sequence[str]:
        return identifiers

    def give_up(self, identifiers: Sequence[str], /) -> None:
        pass


class Provider(Protocol):
    name: str

    @classmethod
    def from_settings(cls) -> Self: ...

    def validate(self, kind: str, identifier: str) -> str | None:
        """The reason why such an identifier cannot exist, or None. Free."""

    def fetch(self, kind: str, identifier: str, *, spend: Spend | None = None) -> Answer:
        """Ask for one. Raises UpstreamError; what `spend` raises passes untouched."""

    def fetch_many(
        self,
        kind: str,
        identifiers: Sequence[str],
        *,
        spend: Spend | None = None,
        answered: Answered | None = None,
        claims: Claims | None = None,
    ) -> Mapping[str, Answer | UpstreamError]:
        """Ask for many; a failure is the value of the identifiers it befell.

        What `spend` raises passes untouched while nothing was answered yet. Afterwards the answers already paid for are
        returned, and the rest carry an UpstreamNotAsked with that exception as its cause.

        With `claims` what was answered, or not taken, has no value: the batch may be longer than the memory for it.
        """


@cache
def provider(name: str) -> Provider:
    """The provider of that name, built once a process."""
    path = TABLE.get(name)
    if path is None:
        msg = f"no provider named {name!r}; known: {', '.join(sorted(TABLE))}"
        raise LookupError(msg)
    built: Provider = import_string(path).from_settings()
    return built
