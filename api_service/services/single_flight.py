"""Single flight: of all threads of this process that ask for the same thing at once, one asks, all get the answer."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

from api_service.services import metrics

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """`seconds` is how long a follower waits for its leader: TimeoutError after that."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._lock = Lock()
        self._flying: dict[Hashable, Future[T]] = {}

    def do(self, key: Hashable, act: Callable[[], T]) -> T:
        """The result of `act`, or its exception: the leader's own, also for those who joined."""
        with self._lock:
            flight = self._flying.get(key)
            if leads := flight is None:
                flight = self._flying[key] = Future()
        if leads:
            return self._lead(key, flight, act)
        metrics.waited(metrics.IN_PROCESS)
        return flight.result(self.seconds)

    def _lead(self, key: Hashable, flight: Future[T], act: Callable[[], T]) -> T:
        try:
            result = act()
        except BaseException as error:
            self._land(key)
            flight.set_exception(error)
            raise
        self._land(key)
        flight.set_result(result)
        return result

    def _land(self, key: Hashable) -> None:
        with self._lock:
            del self._flying[key]
