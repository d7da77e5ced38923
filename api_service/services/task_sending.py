"""Sends a task by its name: the domain knows what the tasks are called, not how they are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from celery import current_app
from kombu import Connection
from kombu.exceptions import OperationalError

# A run that no worker took by then is not wanted any more: the schedule has started one since
EXPIRES_SECONDS = 600
# The person at the browser waits for this at most, whatever state the broker is in
BROKER_SECONDS = 2
# Header of every task: Unix seconds, as messages carry no time of their own
SENT_AT: Final = "sent_at"


class BrokerDown(Exception):
    """The broker did not take the task: nothing was started."""


def send(
    task: str,
    kwargs: dict[str, Any],
    *,
    args: Sequence[Any] = (),
    queue: str | None = None,
    expires: float = EXPIRES_SECONDS,
) -> str:
    """Put the task into `queue`, by default the one that its route names; its id. No worker begins it after `expires`.

    The connection is its own: those of the pool have no time-out, and a frozen broker would hold the web thread. The
    result is not asked for: Celery would subscribe to it first, and with a broken Redis try that for 20 s.
    """
    # Without the argument the route decides; `None` would override it
    route: dict[str, Any] = {"queue": queue} if queue else {}
    try:
        with (
            impatient_connection(BROKER_SECONDS) as connection,
            current_app.amqp.Producer(connection, auto_declare=False) as producer,
        ):
            sent = current_app.send_task(
                task,
                args=list(args),
                kwargs=kwargs,
                producer=producer,
                retry=False,
                ignore_result=True,
                expires=expires,
                **route,
            )
    except OperationalError as error:
        raise BrokerDown(str(error)) from error
    return str(sent.id)


@contextmanager
def impatient_connection(seconds: float) -> Iterator[Connection]:
    """A connection of the caller's own that waits no longer for anything; it is made when it is first used."""
    options = dict(current_app.conf.broker_transport_options)
    if not is_in_memory():
        options |= {"socket_timeout": seconds, "socket_connect_timeout": seconds, "max_retries": 0}
    with current_app.connection_for_write(connect_timeout=seconds, transport_options=options) as connection:
        yield connection


def ping(connection: Connection) -> None:
    """Raises what the driver does when the broker does not answer."""
    channel: Any = connection.default_channel
    if not is_in_memory():
        channel.client.ping()


def troubles(connection: Connection) -> tuple[type[BaseException], ...]:
    """What a broker that is down, frozen or refuses us makes a call raise."""
    return (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors)


def is_in_memory() -> bool:
    """The broker is this process itself: nobody outside of it can send or serve."""
    return str(current_app.conf.broker_url).startswith("memory")


def queues() -> list[str]:
    """Every queue that tasks are routed to, and the default one."""
    routed = {str(route["queue"]) for route in current_app.conf.task_routes.values()}
    return sorted(routed | {str(current_app.conf.task_default_queue)})


def queue_of(task: str) -> str:
    route = current_app.conf.task_routes.get(task, {})
    return str(route.get("queue") or current_app.conf.task_default_queue)
