"""The circuit breaker of a paid service: one row that all processes on all hosts share.

The row is read at most once a second, in at most `STATE_SECONDS`. While the database is in trouble each process goes by
what it sees itself: a circuit protects a service and the callers' time, it is never a condition of a look-up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from time import monotonic, time
from typing import Final, TypeVar
from uuid import uuid4

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction

from api_service.models import CircuitChange, UpstreamCircuit
from api_service.sentences import sentence
from api_service.services import circuit_rules, upstream_calls
from api_service.services.bounded import BoundedCalls, Breaker, OneAProcess
from api_service.services.breakers import Permit
from api_service.services.circuit_rules import PROBE_TELLS, Circuit, Rules, Seen, State
from api_service.services.errors import UpstreamCircuitOpen, UpstreamError

logger = logging.getLogger(__name__)

T = TypeVar("T")

READ_EVERY: Final = 1.0
STATE_SECONDS: Final = 0.25
_TROUBLE: Final = (DatabaseError, InterfaceError)

_calls = BoundedCalls("circuit", Breaker(sentence("circuit breaker")))


class SharedCircuit(OneAProcess):
    """A `breakers.CircuitBreaker`. Thread-safe; a forked child begins with what the row says."""

    def __init__(self, service: str, rules: Rules) -> None:
        self.service = service
        self.rules = rules
        super().__init__()

    def begin(self) -> None:
        self._lock = Lock()
        self._known = Circuit()
        self._read_at = -READ_EVERY
        # What could not be written: the row is older than what this process saw
        self._unwritten = False
        self._answered = 0
        self._told_at = 0.0

    def admit(self) -> Permit:
        if not self.rules.failures:
            return Permit()
        circuit, now = self._current(), time()
        if circuit_rules.may_probe(circuit, now, self.rules):
            token = uuid4().hex
            circuit = self._change(partial(circuit_rules.with_probe, token=token, now=now, rules=self.rules))
            if token in circuit.probes:
                return Permit(token)
        if circuit.state is State.CLOSED:
            return Permit()
        wait = circuit_rules.refused_for(circuit, now) or PROBE_TELLS
        text = sentence("left alone for %(wait)s s: %(reason)s") % {"wait": f"{wait:.0f}", "reason": circuit.reason}
        raise UpstreamCircuitOpen(text, retry_after=round(wait, 1))

    def record(self, permit: Permit, *errors: UpstreamError | None) -> None:
        upstream_calls.note(self.service, errors, time())
        if not self.rules.failures:
            return
        seen = circuit_rules.together([circuit_rules.seen_of(error) for error in errors])
        answered = self._answers(seen.answered)
        if seen.failed or permit.token or self._is_news(answered):
            self._tell(permit, replace(seen, answered=answered))

    def release(self, permit: Permit) -> None:
        if permit.token:
            self._change(partial(circuit_rules.without_probe, token=permit.token))

    @property
    def is_closed(self) -> bool:
        return not self.rules.failures or self._current().state is State.CLOSED

    def _answers(self, number: int) -> int:
        """Answers of this process that the row does not know of; those of longer ago than a window do not count."""
        with self._lock:
            if monotonic() - self._told_at > self.rules.window:
                self._answered, self._told_at = 0, monotonic()
            self._answered += number
            return self._answered

    def _is_news(self, answered: int) -> bool:
        """While failures are counted, answers are too: once a second is enough."""
        counting = self._known.failures > 0 and self._known.state is State.CLOSED
        return counting and answered > 0 and monotonic() - self._told_at >= READ_EVERY

    def _tell(self, permit: Permit, seen: Seen) -> None:
        with self._lock:
            self._answered, self._told_at = 0, monotonic()
        self._change(partial(circuit_rules.after, seen=seen, token=permit.token, now=time(), rules=self.rules))

    def _current(self) -> Circuit:
        """At most a second old; one thread reads, the others go on with what is known."""
        with self._lock:
            if monotonic() - self._read_at < READ_EVERY:
                return self._known
            self._read_at = monotonic()
        try:
            shared = _bounded(partial(_read, self.service))
        except _TROUBLE as error:
            logger.debug("%s: the circuit breaker goes by this process alone: %s", self.service, error)
            return self._known
        with self._lock:
            self._known = circuit_rules.stricter(shared, self._known) if self._unwritten else shared
            return self._known

    def _change(self, step: Callable[[Circuit], Circuit | None]) -> Circuit:
        """What `step` makes of the shared state, or of this process' own where that cannot be had; None keeps it."""
        if settings.ANSWER_STORE_SECONDS > 0 and _calls.breaker.is_open:
            # Reads find out whether the database is back: a probe claimed by the way would be nobody's
            return self._change_alone(step)
        with self._lock:
            own = self._known if self._unwritten else None
        try:
            shared = _bounded(partial(_write, self.service, step, own))
        except _TROUBLE as error:
            logger.warning("%s: the circuit breaker is not shared now: %s", self.service, error)
            return self._change_alone(step)
        with self._lock:
            self._known, self._read_at, self._unwritten = shared, monotonic(), False
            return shared

    def _change_alone(self, step: Callable[[Circuit], Circuit | None]) -> Circuit:
        with self._lock:
            before, self._unwritten = self._known, True
            self._known = step(before) or before
            _log(self.service, before, self._known)
            return self._known


def from_settings(service: str) -> SharedCircuit:
    rules = Rules(
        failures=settings.MIGO_CIRCUIT_FAILURES,
        window=settings.MIGO_CIRCUIT_WINDOW,
        open_seconds=settings.MIGO_CIRCUIT_SECONDS,
        probes=settings.MIGO_CIRCUIT_PROBES,
        # A probe is over by the deadline of its call; then its process has died
        probe_seconds=settings.MIGO_DEADLINE + 5,
    )
    return SharedCircuit(service, rules)


def shared_state(service: str) -> Circuit:
    """The row as it is now. Raises what the database raises."""
    return _read(service)


def _bounded(act: Callable[[], T]) -> T:
    """On a connection of its own, so that a caller who rolls back takes nothing along; never longer than its time."""
    seconds = settings.ANSWER_STORE_SECONDS
    return _calls.call(partial(_impatiently, act), min(seconds, STATE_SECONDS)) if seconds > 0 else act()


def _impatiently(act: Callable[[], T]) -> T:
    """A lock waited for longer than anybody waits here would hold the one thread that reads the state, too."""
    milliseconds = int(STATE_SECONDS * 1000)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [f"{milliseconds}ms"])
        else:
            cursor.execute(f"PRAGMA busy_timeout = {milliseconds}")
    return act()


def _read(service: str) -> Circuit:
    row = UpstreamCircuit.objects.filter(service=service).first()
    return Circuit() if row is None else _circuit_of(row)


def _write(service: str, step: Callable[[Circuit], Circuit | None], own: Circuit | None) -> Circuit:
    with transaction.atomic():
        UpstreamCircuit.objects.get_or_create(service=service)
        row = UpstreamCircuit.objects.select_for_update().get(service=service)
        before = _circuit_of(row)
        after = step(before if own is None else circuit_rules.stricter(before, own))
        if after is None or after == before:
            return before
        _store(row, before, after)
    _log(service, before, after)
    return after


def _store(row: UpstreamCircuit, before: Circuit, after: Circuit) -> None:
    row.state, row.calls, row.failures = after.state.value, after.calls, after.failures
    row.window_at, row.open_until = _moment(after.window_at), _moment(after.open_until)
    row.reason, row.probes = after.reason, after.probes
    if after.state is not before.state or after.open_until != before.open_until:
        row.changed_at = datetime.now(UTC)
        CircuitChange.objects.create(
            service=row.service, at=row.changed_at, state=row.state, open_until=row.open_until, reason=row.reason
        )
    row.save()


def _circuit_of(row: UpstreamCircuit) -> Circuit:
    return Circuit(
        state=State(row.state),
        calls=row.calls,
        failures=row.failures,
        window_at=_seconds(row.window_at),
        open_until=_seconds(row.open_until),
        reason=row.reason,
        probes=row.probes,
    )


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0


def _log(service: str, before: Circuit, after: Circuit) -> None:
    if after.state is before.state:
        return
    until = f" until {_moment(after.open_until):%H:%M:%S} UTC" if after.state is State.OPEN else ""
    logger.warning("%s: the circuit breaker is %s%s: %s", service, after.state.value, until, after.reason)
