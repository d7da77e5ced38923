"""The workers: whether each queue has one that answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from celery import current_app
from django.conf import settings
from kombu import Connection
from kombu.pidbox import Mailbox

from api_service.services import around_rules, task_sending
from api_service.services.around.reading import Moment, Seen, judges, unjudged
from api_service.services.backends.base import error_text

MONITOR = "workers.tasks.monitor_cache_health"
CODE = "workers_missing"


class _AllServed(Exception):
    """Every queue has a worker: who else there is need not be waited for."""


@judges(CODE)
def read(moment: Moment) -> Seen:
    if settings.HEALTH_WORKERS_SECONDS <= 0:
        # Not unknown: what is switched off must not keep an incident open for ever
        return Seen({"asked": False})
    with task_sending.impatient_connection(settings.HEALTH_WORKERS_SECONDS) as connection:
        try:
            answered = ask(connection, settings.HEALTH_WORKERS_SECONDS, task_sending.queues())
        except task_sending.troubles(connection) as error:
            # The broker is another reading's matter
            return Seen({"asked": False, "error": error_text(error)}, unknown=unjudged(CODE))
    return _judged(answered, moment)


def ask(connection: Connection, seconds: float, until_served: Sequence[str]) -> dict[str, list[str]]:
    """The queues of each worker that answered within `seconds`, or until all of these queues were named.

    Raises what the broker does. A frozen one does it within the connection's limit, before the command is sent.
    """
    answered: dict[str, list[str]] = {}

    def heard(reply: Mapping[str, Any]) -> None:
        answered.update({worker: sorted(q["name"] for q in said) for worker, said in reply.items() if _is_list(said)})
        if {queue for of_worker in answered.values() for queue in of_worker}.issuperset(until_served):
            raise _AllServed

    task_sending.ping(connection)
    with suppress(_AllServed):
        _mailbox(connection).multi_call("active_queues", timeout=seconds, callback=heard)
    return answered


def _mailbox(connection: Connection) -> Mailbox:
    """As the app's own, which would send over a pool whose connections have no time-out."""
    conf = current_app.conf
    return Mailbox(
        conf.control_exchange,
        type="fanout",
        connection=connection,
        accept=conf.accept_content,
        serializer=conf.task_serializer,
        reply_queue_ttl=conf.control_queue_ttl,
        reply_queue_expires=conf.control_queue_expires,
        queue_durable=conf.control_queue_durable,
        queue_exclusive=conf.control_queue_exclusive,
    )


def _judged(answered: Mapping[str, Sequence[str]], moment: Moment) -> Seen:
    queues = task_sending.queues()
    missing, unknown = around_rules.without_worker(queues, answered, moment.own_queue)
    if not answered and task_sending.is_in_memory():
        # Its workers are threads of one process, which need not be this one
        missing, unknown = [], [*missing, *unknown]
    found = [around_rules.workers_missing(queue, task_sending.queue_of(MONITOR)) for queue in missing]
    serving = Counter(queue for of_worker in answered.values() for queue in of_worker)
    facts = {"asked": True, "answered": dict(answered), "queues": {queue: serving[queue] for queue in queues}}
    return Seen(facts, found, frozenset((CODE, queue) for queue in unknown))


def _is_list(said: object) -> bool:
    """A worker that could not tell answers with a mapping: {"error": …}."""
    return isinstance(said, list)
