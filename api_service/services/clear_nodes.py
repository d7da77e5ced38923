"""Removes the keys of a selection from every node, side by side, from the live list of each.

It needs no database: who records a clearing reads `nodes` while it goes on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from itertools import islice
from threading import Event

from api_service.sentences import sentence
from api_service.services.backends import Adapter, Deadline, InventoryError
from api_service.services.clear_plan import (
    DONE,
    FAILED,
    KINDS_COUNTED,
    OTHER_KINDS,
    RUNNING,
    WAITING,
    Chosen,
    NodeJSON,
    Selection,
    chooser,
    start,
    totals,
    wire_prefix,
)

logger = logging.getLogger(__name__)

SECONDS = 240.0
BATCH = 1000
NODES_AT_ONCE = 8
TELL_SECONDS = 1.0
STOPPED = sentence("stopped before the end")


class NodesClearing:
    """`nodes` is how far each is, replaced as a whole with each batch: other threads may read it at any time.

    Nodes that are done, or not there any more, are left alone.
    """

    def __init__(
        self, adapter: Adapter, prefix: str, wanted: Selection, nodes: dict[str, NodeJSON], *, dry_run: bool = False
    ) -> None:
        self.nodes = nodes
        self._adapter = adapter
        self._prefix = wire_prefix(wanted, prefix)
        self._chosen: Chosen = chooser(wanted, prefix)
        self._dry_run = dry_run
        self._stopped = Event()

    def run(self, seconds: float = SECONDS, tell: Callable[[], None] | None = None) -> None:
        """Returns when every node is done or has failed; calls `tell` in this thread once a second.

        Whatever `tell` raises, and an interrupt, stops the nodes after their batch and goes on up.
        """
        deadline, todo = Deadline.after(seconds), [name for name, row in self.nodes.items() if row["state"] == WAITING]
        with ThreadPoolExecutor(min(NODES_AT_ONCE, len(todo) or 1), "clear-node") as threads:
            try:
                left = {threads.submit(self._clear, node, deadline) for node in todo}
                while left:
                    left = _raise_from(wait(left, TELL_SECONDS).done, left)
                    if tell:
                        tell()
            except BaseException:
                self._stopped.set()
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _clear(self, node: str, deadline: Deadline) -> None:
        self._set(node, RUNNING)
        try:
            with closing(self._adapter.keys(node, self._prefix, deadline)) as listed:
                while not self._stopped.is_set() and (batch := list(islice(listed, BATCH))):
                    self._take(node, batch)
        except InventoryError as error:
            self._set(node, FAILED, error=error.reason)
            logger.warning("could not clear %s", error)
        else:
            stopped = self._stopped.is_set()
            self._set(node, FAILED if stopped else DONE, error=STOPPED if stopped else "")

    def _take(self, node: str, batch: Iterable[str]) -> None:
        """Found first: keys of a node that dies now are failures, not keys that nobody saw."""
        chosen = {key: kind for key in batch if (kind := self._chosen(key)) is not None}
        if not chosen:
            return
        kinds = _counted(self.nodes[node]["kinds"], chosen.values())
        self._set(node, RUNNING, found=len(chosen), kinds=kinds)
        if not self._dry_run:
            self._set(node, RUNNING, removed=self._adapter.remove(node, chosen))

    def _set(
        self,
        node: str,
        state: str,
        *,
        found: int = 0,
        removed: int = 0,
        kinds: dict[str, int] | None = None,
        error: str = "",
    ) -> None:
        was = self.nodes[node]
        self.nodes[node] = {
            "state": state,
            "found": was["found"] + found,
            "removed": was["removed"] + removed,
            "kinds": was["kinds"] if kinds is None else kinds,
            "error": error[:300],
        }


def clear(adapter: Adapter, prefix: str, wanted: Selection, seconds: float = SECONDS) -> dict[str, int]:
    """Remove the selection's keys from all nodes that answer: `{"found", "removed", "failed", "nodes_failed"}`.

    `prefix` is Django's, such as ":1:".
    """
    clearing = NodesClearing(adapter, prefix, wanted, start(adapter.nodes(), {}))
    clearing.run(seconds)
    counts = totals(clearing.nodes.values())
    return {
        "found": counts["found"],
        "removed": counts["removed"],
        "failed": counts["failed"],
        "nodes_failed": counts["nodes_failed"],
    }


def _counted(before: dict[str, int], found: Iterable[str]) -> dict[str, int]:
    kinds = dict(before)
    for kind, count in Counter(found).items():
        name = kind if kind in kinds or len(kinds) < KINDS_COUNTED else OTHER_KINDS
        kinds[name] = kinds.get(name, 0) + count
    return kinds


def _raise_from(done: set[Future[None]], left: set[Future[None]]) -> set[Future[None]]:
    """Those still under way; what one of the others raised is an error of the program and goes on up."""
    for future in done:
        future.result()
    return left - done
