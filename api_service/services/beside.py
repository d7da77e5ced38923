"""Calls in threads of their own that are left behind when they take too long.

Their threads are daemons: one that hangs in a driver or in the system's resolver ends with the process, and does not
keep it from ending, as those of an executor would.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def beside(name: str, act: Callable[[], T]) -> Future[T]:
    """`act` has begun in a thread of its own; ask the future for its result, or its error, with a time-out."""
    future: Future[T] = Future()
    Thread(target=keep, args=(future, act), name=name, daemon=True).start()
    return future


def keep(future: Future[T], act: Callable[[], T]) -> None:
    """What `act` brings or raises, for whoever waits for `future`."""
    try:
        result = act()
    except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
        future.set_exception(error)
    else:
        future.set_result(result)
