"""Waiting for something that happens in another process or thread, with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], timeout: float = 30.0, interval: float = 0.02, message: str = "") -> T:
    """The first true value of `predicate`; an AssertionError naming `message` when the deadline passes."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"{message or 'the awaited event'}: not within {timeout:g} s")
        time.sleep(interval)
    return value
