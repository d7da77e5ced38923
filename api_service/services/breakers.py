"""What a provider asks before a call and tells after it: the interface of a circuit breaker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from api_service.services.errors import UpstreamError


@dataclass(frozen=True, slots=True)
class Permit:
    """One call is allowed; with a token it is a probe, which must tell or be given back."""

    token: str = ""


class CircuitBreaker(Protocol):
    @property
    def is_closed(self) -> bool:
        """Whether calls are allowed as a matter of course: no probe, no pause."""

    def admit(self) -> Permit:
        """Before anything is paid. UpstreamCircuitOpen, with `retry_after`, where the service is left alone."""

    def record(self, permit: Permit, *errors: UpstreamError | None) -> None:
        """How the attempts of a permit ended; None is an answer."""

    def release(self, permit: Permit) -> None:
        """The call was not made: somebody else may probe."""


class AlwaysClosed:
    """No circuit breaker."""

    is_closed = True

    def admit(self) -> Permit:
        return Permit()

    def record(self, permit: Permit, *errors: UpstreamError | None) -> None:
        pass

    def release(self, permit: Permit) -> None:
        pass


@contextmanager
def attempt(circuit: CircuitBreaker) -> Iterator[None]:
    """One attempt. What is raised inside and is no UpstreamError forbade it."""
    permit = circuit.admit()
    try:
        yield
    except UpstreamError as error:
        circuit.record(permit, error)
        raise
    except BaseException:
        circuit.release(permit)
        raise
    circuit.record(permit, None)
