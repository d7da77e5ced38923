"""What this process knows of a cache node: up, down, and when to try it again.

One object per node and process, shared by all threads and all cache instances, so that a dead
node costs one time-out per retry interval and not one per thread and call.
"""

import logging
import os
from collections.abc import Callable
from threading import Lock

from api_service.caches.errors import NodeUnavailable

logger = logging.getLogger("api_service.caches")
# Told the node of each failed call: the caches know nothing of who counts
on_failure: list[Callable[[str], None]] = []


class NodeState:
    """Decides whether a node may be asked. Every method takes `now` (monotonic seconds)."""

    def __init__(self, node: str, retry_interval: float) -> None:
        self.node = node
        self.retry_interval = retry_interval
        self.reset()

    def reset(self) -> None:
        """Forget everything; a forked child starts here, with a lock that nobody holds."""
        self._lock = Lock()
        self._down_since: float | None = None
        self._retry_at = 0.0
        self.troubled = False
        self.consecutive = 0
        self.last_error = ""

    def admit(self, now: float) -> None:
        """Return when the node may be asked, else raise at once without touching the network.

        The caller that finds the retry time reached moves it on and so is the only one to
        probe. A prober that dies without reporting delays the next probe by one interval only.
        """
        with self._lock:
            if self._down_since is None:
                return
            if now >= self._retry_at:
                self._retry_at = now + self.retry_interval
                return
            cause = self.last_error
        raise NodeUnavailable(self.node, cause)

    def retry_now(self) -> None:
        """The next caller probes the node, whenever the last one failed."""
        with self._lock:
            self._retry_at = 0.0

    def failed(self, error: BaseException, now: float) -> NodeUnavailable:
        """Count the failure, leave the node alone for an interval; returns what to raise."""
        cause = f"{type(error).__name__}: {error}"
        with self._lock:
            self.consecutive += 1
            self.last_error = cause
            self._retry_at = now + self.retry_interval
            went_down = self._down_since is None
            if went_down:
                self._down_since = now
                self.troubled = True
        for tell in on_failure:
            tell(self.node)
        if went_down:
            logger.warning(
                "cache node %s is down (%s); its keys are outages, next try in %g s",
                self.node,
                cause,
                self.retry_interval,
            )
        return NodeUnavailable(self.node, cause)

    def succeeded(self, now: float) -> None:
        """Take the node back. Callers skip this while `troubled` is False: it is the hot path."""
        with self._lock:
            since, failures = self._down_since, self.consecutive
            self._down_since = None
            self.consecutive = 0
            self.troubled = False
        if since is not None:
            logger.info(
                "cache node %s is back after %.1f s (%d failed calls)",
                self.node,
                now - since,
                failures,
            )


_states: dict[tuple[str, float], NodeState] = {}


def node_state(node: str, retry_interval: float) -> NodeState:
    """This process's one state of a node; `node` carries no credentials."""
    return _states.setdefault((node, retry_interval), NodeState(node, retry_interval))


def _forget_in_child() -> None:
    for state in list(_states.values()):
        state.reset()


os.register_at_fork(after_in_child=_forget_in_child)
