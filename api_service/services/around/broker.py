"""The broker: whether it answers, how much waits in each queue, and for how long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from time import monotonic
from typing import Any

import orjson
from django.conf import settings

from api_service.services import around_rules, task_sending
from api_service.services.around.reading import Moment, Seen, judges, unjudged
from api_service.services.around_rules import Queue
from api_service.services.backends.base import error_text

# Of one answer: a frozen broker takes connections and says nothing
SECONDS = 1.0
OF_QUEUES = ("queue_long", "queue_old")


@judges("broker_down", *OF_QUEUES)
def read(moment: Moment) -> Seen:
    started = monotonic()
    with task_sending.impatient_connection(SECONDS) as connection:
        transport = str(connection.transport.driver_type)
        try:
            channel: Any = connection.default_channel
            queues, unacked = _waiting(channel, transport, task_sending.queues(), moment.now.timestamp())
        except task_sending.troubles(connection) as error:
            finding = around_rules.broker_down(error_text(error))
            return Seen({"transport": transport, "reachable": False}, [finding], unjudged(*OF_QUEUES))
    facts = {
        "transport": transport,
        "reachable": True,
        "ms": round((monotonic() - started) * 1000, 1),
        "queues": {name: asdict(queue) for name, queue in queues.items()},
        "unacked": unacked,
    }
    found = around_rules.of_queues(queues, settings.HEALTH_QUEUE_LENGTH, settings.HEALTH_QUEUE_SECONDS)
    return Seen(facts, list(found))


def _waiting(channel: Any, transport: str, names: Sequence[str], now: float) -> tuple[dict[str, Queue], int | None]:
    """Each queue, and how many messages workers hold (null where the broker is this process)."""
    if transport == "redis":
        return _in_redis(channel, names, now)
    return {name: _in_memory(channel, name, now) for name in names}, None


def _in_redis(channel: Any, names: Sequence[str], now: float) -> tuple[dict[str, Queue], int]:
    """One round trip. A queue is one list for each priority; what is taken next, the oldest, is the last element."""
    steps = channel.priority_steps
    lists = [(name, f"{name}{channel.sep}{step}" if step else name) for name in names for step in steps]
    with channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
        for _name, key in lists:
            pipe.llen(key)
            pipe.lindex(key, -1)
        pipe.hlen(channel.unacked_key)
        *replies, unacked = pipe.execute()
    pairs = zip((name for name, _key in lists), replies[::2], replies[1::2], strict=True)
    found: dict[str, list[tuple[int, float | None]]] = {name: [] for name in names}
    for name, length, oldest in pairs:
        found[name].append((length, _age(_read(oldest), now) if oldest else None))
    return {name: _together(parts) for name, parts in found.items()}, unacked


def _in_memory(channel: Any, name: str, now: float) -> Queue:
    waiting = channel.queues.get(name)
    messages = list(waiting.queue) if waiting else []
    return Queue(len(messages), _age(messages[0], now) if messages else None)


def _together(parts: Iterable[tuple[int, float | None]]) -> Queue:
    lengths, ages = zip(*parts, strict=True)
    return Queue(sum(lengths), max((age for age in ages if age is not None), default=None))


def _read(text: bytes) -> Any:
    """Who else writes into our lists need not write JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _age(message: Any, now: float) -> float | None:
    """Seconds since it was sent; None of one that was sent by another program or version."""
    headers = message.get("headers") if isinstance(message, dict) else None
    sent = (headers or {}).get(task_sending.SENT_AT)
    return round(max(0.0, now - sent), 1) if isinstance(sent, int | float) else None
