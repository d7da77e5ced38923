"""Sends a task by its name: the domain knows what the tasks are called, not how they are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import current_app
from kombu.exceptions import OperationalError

# A run that no worker took by then is not wanted any more: the schedule has started one since
EXPIRES_SECONDS = 600
# The person at the browser waits for this at most, whatever state the broker is in
BROKER_SECONDS = 2
_REDIS_LIMITS = {"socket_timeout": BROKER_SECONDS, "socket_connect_timeout": BROKER_SECONDS, "max_retries": 0}


class BrokerDown(Exception):
    """The broker did not take the task: nothing was started."""


def send(
    task: str,
    kwargs: dict[str, Any],
    *,
    args: Sequence[Any] = (),
    queue: str | None = None,
    expires: float = EXPIRES_SECONDS,
    countdown: float | None = None,
) -> str:
    """Put the task into `queue`, by default the one that its route names; its id. No worker begins it before
    `countdown` seconds nor after `expires`.

    The connection is its own: those of the pool have no time-out, and a frozen broker would hold the web thread. The
    result is not asked for: Celery would subscribe to it first, and with a broken Redis try that for 20 s.
    """
    # Without the argument the route decides; `None` would override it
    route: dict[str, Any] = {"queue": queue} if queue else {}
    options = dict(current_app.conf.broker_transport_options)
    if str(current_app.conf.broker_url).startswith("redis"):
        options |= _REDIS_LIMITS
    try:
        with (
            current_app.connection_for_write(connect_timeout=BROKER_SECONDS, transport_options=options) as connection,
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
                countdown=countdown,
                **route,
            )
    except OperationalError as error:
        raise BrokerDown(str(error)) from error
    return str(sent.id)
