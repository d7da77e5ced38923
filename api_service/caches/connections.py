"""Persistent connections: one per node and thread, shared by all cache instances of a process."""

import atexit
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Concatenate, ParamSpec, TypeVar
from weakref import WeakSet

from pymemcache.exceptions import (
    MemcacheClientError,
    MemcacheError,
    MemcacheUnknownCommandError,
)

from api_service.caches.node_state import node_state
from api_service.caches.placement import Server
from api_service.caches.wire import NodeClient

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """OPTIONS of the backend, in seconds. A time-out should stay below the retry interval."""

    connect_timeout: float = 0.5
    timeout: float = 0.5
    retry_interval: float = 5.0
    no_delay: bool = True


_Spec = tuple[Server, ConnectionOptions]


class _ThreadClients:
    """A thread's clients; closed when the thread ends, so that no socket is left to the GC."""

    def __init__(self) -> None:
        self.clients: dict[_Spec, NodeClient] = {}

    def close(self) -> None:
        for client in list(self.clients.values()):
            client.close()

    def __del__(self) -> None:
        self.close()


class _Connections(threading.local):
    def __init__(self) -> None:
        self.owner = _ThreadClients()
        self.clients = self.owner.clients
        _all_clients.add(self.owner)


# read only in a forked child, where no other thread can change it
_all_clients: WeakSet[_ThreadClients] = WeakSet()
_connections = _Connections()


def _close_in_child() -> None:
    """A forked child must never speak on its parent's sockets.

    Closing them here drops the child's copies only: nothing is sent, the parent's stay usable.
    """
    for owner in list(_all_clients):
        owner.close()


def _close_at_exit() -> None:
    _connections.owner.close()


os.register_at_fork(after_in_child=_close_in_child)
atexit.register(_close_at_exit)


class Node:
    """One memcached server: this process's state of it and this thread's connection to it."""

    def __init__(self, name: str, server: Server, options: ConnectionOptions) -> None:
        self.name = name
        self.state = node_state(name, options.retry_interval)
        self._server = server
        self._options = options
        self._spec = (server, options)

    def call(self, operation: Callable[Concatenate[NodeClient, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one exchange; `NodeUnavailable` when the node cannot be asked.

        Whatever interrupts an exchange, a KeyboardInterrupt or a task's time limit included,
        closes the socket: the reply that is still under way must not answer the next question.
        """
        state = self.state
        if state.troubled:
            state.admit(monotonic())
        client = _connections.clients.get(self._spec) or self._new_client()
        if client.busy:
            return self._call_aside(operation, *args, **kwargs)
        try:
            client.busy = True
            client.make_ready()
            result = operation(client, *args, **kwargs)
        except BaseException as error:
            client.close()
            if _is_outage(error):
                raise state.failed(error, monotonic()) from error
            raise
        finally:
            client.busy = False
        if state.troubled:
            state.succeeded(monotonic())
        return result

    def _call_aside(self, operation: Callable[Concatenate[NodeClient, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A signal handler or finaliser came between question and answer: use another socket."""
        clients = _connections.clients
        interrupted = clients.pop(self._spec)
        try:
            return self.call(operation, *args, **kwargs)
        finally:
            aside = clients.get(self._spec)
            clients[self._spec] = interrupted
            if aside is not None:
                aside.close()

    def _new_client(self) -> NodeClient:
        options = self._options
        client = NodeClient(
            self._server,
            connect_timeout=options.connect_timeout,
            timeout=options.timeout,
            no_delay=options.no_delay,
        )
        _connections.clients[self._spec] = client
        return client

    def disconnect(self) -> None:
        """Close this thread's connection; the next call opens it again."""
        client = _connections.clients.get(self._spec)
        if client is not None:
            client.close()


def _is_outage(error: BaseException) -> bool:
    """Every failure of node or network; not a command that the node answered with a refusal."""
    if isinstance(error, MemcacheUnknownCommandError):
        return True
    return isinstance(error, OSError | MemcacheError) and not isinstance(error, MemcacheClientError)
