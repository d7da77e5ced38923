"""Whether a copy can be begun: both caches answer, and they are two. Nothing stays changed by the question."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import time
from uuid import uuid4

from api_service.models import CopyRun
from api_service.sentences import sentence
from api_service.services.backends import Adapter, InventoryError, Item
from api_service.services.backends.base import LOCK_PREFIX

MARKER_SECONDS = 30


class CannotCopy(Exception):
    """Refused before anything was done; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Job:
    """From where, to where, which keys. `sample`: how many values are compared afterwards."""

    source: Adapter
    target: Adapter
    wire_prefix: str
    purpose: CopyRun.Purpose = CopyRun.Purpose.COPY
    replace: bool = False
    sample: int = 1000
    requested_by: str = ""

    def is_seen(self, key: str, node: str) -> bool:
        """Whether the cache looks for that key on that node of the source."""
        return self.source.node_for(key) == node

    def is_wanted(self, key: str, node: str) -> bool:
        """Whether a key that lies on that node of the source has another place in the target."""
        return self.purpose == CopyRun.Purpose.COPY or self.target.node_for(key) != node


def check(job: Job) -> None:
    """Raises CannotCopy."""
    same = _same_servers(job)
    if job.purpose == CopyRun.Purpose.COPY:
        _refuse_same(same)
    else:
        _refuse_renamed(job, same)


def _refuse_same(same: dict[str, str]) -> None:
    if same:
        raise CannotCopy(
            sentence(
                "%(nodes)s is a node of the cache in use. To another set of nodes of the same cache, use "
                "rebalance_cache; a copy goes to a cache of its own."
            )
            % {"nodes": ", ".join(same)}
        )


def _refuse_renamed(job: Job, same: dict[str, str]) -> None:
    if set(job.source.nodes()) == set(job.target.nodes()):
        raise CannotCopy(sentence("These are the nodes of the cache in use: no key would move."))
    for target, source in same.items():
        if target != source:
            raise CannotCopy(
                sentence(
                    "%(target)s is %(source)s by another name. Names place keys: spell it as in CACHE_URL, "
                    "or all of its keys move."
                )
                % {"target": target, "source": source}
            )


def _same_servers(job: Job) -> dict[str, str]:
    """Target node → the source node that it is, by whatever names. Raises CannotCopy for one that does not answer."""
    with _marked(job.source) as markers:
        found = {node: markers[key] for node in job.target.nodes() for key in _markers_on(job.target, node, markers)}
    # A full server takes no marker
    by_name = {node: node for node in job.target.nodes() if node in job.source.nodes()}
    return by_name | found if job.source.name == job.target.name else found


@contextmanager
def _marked(adapter: Adapter) -> Iterator[dict[str, str]]:
    """Marker → the node it lies on, for the nodes that answer. Names and process ids cannot tell servers apart."""
    markers: dict[str, str] = {}
    problem = ""
    for node in adapter.nodes():
        key = f"{LOCK_PREFIX}identity.{uuid4().hex}"
        try:
            adapter.write(node, [Item(key, b"1", time() + MARKER_SECONDS)], replace=True)
        except InventoryError as error:
            problem = str(error)
        else:
            markers[key] = node
    if not markers:
        raise CannotCopy(sentence("No node of the cache in use answers: %(problem)s") % {"problem": problem})
    try:
        yield markers
    finally:
        for key, node in markers.items():
            _remove(adapter, node, key)


def _remove(adapter: Adapter, node: str, key: str) -> None:
    try:
        adapter.remove(node, [key])
    except InventoryError:
        # It died since it was marked; a marker ends by itself
        return


def _markers_on(target: Adapter, node: str, markers: dict[str, str]) -> list[str]:
    try:
        found = list(target.read(node, markers).values)
    except InventoryError as error:
        raise CannotCopy(sentence("The target does not answer: %(error)s") % {"error": error}) from error
    if not found:
        _refuse_unwritable(target, node)
    return found


def _refuse_unwritable(target: Adapter, node: str) -> None:
    facts = target.probe(node)
    if not facts.reachable:
        text = sentence("The target does not take what is written: %(problem)s")
        raise CannotCopy(text % {"problem": f"{node}: {facts.error}"})
