"""The calls of one batch, several under way at once.

Only HTTP happens beside: whatever is asked, entered, decided and handed over happens in the caller's thread, one thing
after the other, so that a budget is exact and a caller's transaction and connection are its own. A retry is not waited
for in the thread of its call but comes back when it is due; meanwhile others go on.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice
from math import inf
from time import monotonic, sleep
from typing import Final, TypeAlias

from api_service.sentences import sentence
from api_service.services.breakers import CircuitBreaker, Permit
from api_service.services.errors import UpstreamAuthRefused, UpstreamCircuitOpen, UpstreamError, UpstreamNotAsked
from api_service.services.providers import Answer, Answered, Claims, Spend, SpendLater, Unclaimed
from api_service.services.upstream import Patience, Response, delay_before_retry

logger = logging.getLogger(__name__)

FAILURES_THAT_STOP: Final = 2

Results: TypeAlias = Mapping[str, Answer | UpstreamError]
# Sends a chunk once, by a monotonic end; reads its response. Both raise UpstreamError
Send: TypeAlias = Callable[[Sequence[str], float], Response]
Read: TypeAlias = Callable[[Sequence[str], Response], Results]


@dataclass(frozen=True, slots=True)
class Trial:
    """A chunk that is to be asked for at `due`; `ends_at` bounds all its attempts. Both are monotonic seconds."""

    chunk: Sequence[str]
    attempt: int = 1
    due: float = 0.0
    ends_at: float = inf
    error: UpstreamError | None = None


class SideBySide:
    """One batch. `charge` is told before each attempt."""

    def __init__(self, send: Send, read: Read, charge: Spend, circuit: CircuitBreaker, patience: Patience) -> None:
        self._send = send
        self._read = read
        self._charge = charge
        self._answered: Answered | None = None
        self._claims: Claims = Unclaimed()
        self._keeps_answers = True
        self._circuit = circuit
        self._patience = patience
        self._results: dict[str, Answer | UpstreamError] = {}
        self._parallel = 1
        # Taken as they are needed: cutting the next chunk costs no call its turn
        self._source: Iterator[Trial] = iter(())
        self._fresh: deque[Trial] = deque()
        self._again: list[Trial] = []
        self._flying: dict[Future[Response], tuple[Trial, Permit]] = {}
        self._closed: UpstreamError | None = None
        self._failures = 0
        self._not_before = 0.0
        self._refused_since: float | None = None
        self._any_answer = False

    def run(
        self,
        chunks: Iterable[Sequence[str]],
        parallel: int,
        answered: Answered | None = None,
        claims: Claims | None = None,
    ) -> Results:
        """An entry for each of the chunks. Raises what `charge` raised while nothing has been answered.

        `answered` is given what each call brought, as it ends. With `claims` there are entries for failures only.
        """
        self._answered = answered
        self._claims, self._keeps_answers = claims or self._claims, claims is None
        self._parallel = parallel
        self._source = map(Trial, chunks)
        with ThreadPoolExecutor(parallel, thread_name_prefix="migo") as pool:
            try:
                while self._has_fresh() or self._again or self._flying:
                    self._start(pool)
                    self._land(self._next())
            except BaseException:
                self._keep_what_is_under_way()
                raise
        if isinstance(self._closed, UpstreamNotAsked) and not self._any_answer and self._closed.__cause__ is not None:
            raise self._closed.__cause__
        return self._results

    def _start(self, pool: ThreadPoolExecutor) -> None:
        """Send what is due, as far as there is room, a place and a leave."""
        while self._closed is None and self._due_at() <= monotonic():
            trial = self._again.pop(0) if self._retry_is_due() else self._fresh.popleft()
            if (permit := self._leave()) is None:
                self._put_back(trial)
            elif (paid := self._paid(trial, permit)) is None:
                self._circuit.release(permit)
                self._put_back(trial)
            elif not paid.chunk:
                self._circuit.release(permit)
            else:
                self._flying[pool.submit(self._fly, paid)] = paid, permit
        if self._closed is not None:
            self._give_up(self._closed)

    def _has_fresh(self) -> bool:
        if not self._fresh:
            self._fresh.extend(islice(self._source, 1))
        return bool(self._fresh)

    def _due_at(self) -> float:
        """When the next may be sent, infinity where one that is under way has to end first."""
        if len(self._flying) >= self._room():
            return inf
        fits = self._under_way() < self._room() and self._has_fresh()
        due = 0.0 if fits else self._again[0].due if self._again else inf
        return max(due, self._not_before)

    def _under_way(self) -> int:
        """A retry that waits keeps its room: while a service fails, nothing new would be tried."""
        return len(self._flying) + len(self._again)

    def _room(self) -> int:
        """As many as are sent at once, and some that wait for a thread while this one is busy with answers.

        To a service that is only tried again one goes ahead.
        """
        return self._parallel + self._parallel // 2 if self._circuit.is_closed else 1

    def _retry_is_due(self) -> bool:
        """It comes before what is new: its time runs."""
        full = self._under_way() >= self._room()
        return bool(self._again) and (self._again[0].due <= monotonic() or full or not self._has_fresh())

    def _fly(self, trial: Trial) -> Response:
        """In a thread of the pool, which is soon free for the next. The time of a first attempt begins here."""
        ends_at = monotonic() + self._patience.deadline if trial.attempt == 1 else trial.ends_at
        return self._send(trial.chunk, ends_at)

    def _put_back(self, trial: Trial) -> None:
        if trial.attempt == 1:
            self._fresh.appendleft(trial)
        else:
            self._again.insert(0, trial)

    def _leave(self) -> Permit | None:
        """The circuit's; None when it has to be waited for, or the batch is over."""
        try:
            return self._circuit.admit()
        except UpstreamCircuitOpen as error:
            self._wait_or_close(error)
            return None

    def _paid(self, trial: Trial, permit: Permit) -> Trial | None:
        """What of it is still to be asked for, claimed and charged; None when it has to wait, or the batch is over."""
        try:
            return self._charged(trial) if trial.attempt > 1 else self._claimed(trial)
        except SpendLater as later:
            self._not_before = monotonic() + later.seconds
        except Exception as forbidden:  # noqa: BLE001 - the caller's own, raised or handed on in the end
            self._closed = not_asked(forbidden)
        except BaseException:
            self._circuit.release(permit)
            raise
        return None

    def _claimed(self, trial: Trial) -> Trial:
        """Nobody's claims wait for a place: they are given up at once and taken anew."""
        mine = self._claims.take(trial.chunk)
        try:
            return self._charged(replace(trial, chunk=mine, ends_at=monotonic() + self._patience.deadline))
        except BaseException:
            self._claims.give_up(mine)
            raise

    def _charged(self, trial: Trial) -> Trial:
        if trial.chunk:
            self._charge(len(trial.chunk), retry=trial.attempt > 1)
        return trial

    def _wait_or_close(self, error: UpstreamCircuitOpen) -> None:
        """A batch has the patience of one call for a service that is left alone."""
        now, seconds = monotonic(), error.retry_after or 0.0
        self._refused_since = now if self._refused_since is None else self._refused_since
        if now + seconds - self._refused_since <= self._patience.deadline:
            self._not_before = now + seconds
        else:
            self._closed = error

    def _next(self) -> Iterable[Future[Response]]:
        """The calls that have ended, waiting until one has or the next is due."""
        seconds = max(0.0, self._due_at() - monotonic())
        if self._flying:
            return wait(self._flying, None if seconds == inf else seconds, FIRST_COMPLETED).done
        if seconds != inf:
            sleep(seconds)
        return ()

    def _land(self, ended: Iterable[Future[Response]]) -> None:
        for future in ended:
            trial, permit = self._flying.pop(future)
            try:
                got = self._read(trial.chunk, future.result())
            except UpstreamError as error:
                self._circuit.record(permit, error)
                self._failed(trial, error)
            except BaseException:
                self._circuit.release(permit)
                raise
            else:
                self._circuit.record(permit, None)
                self._done(got)

    def _done(self, got: Results) -> None:
        self._any_answer, self._refused_since = True, None
        errors = {one: answer for one, answer in got.items() if isinstance(answer, UpstreamError)}
        self._results.update(got if self._keeps_answers else errors)
        self._note(list(errors.values()), all_failed=len(errors) == len(got))
        if self._answered is not None:
            self._answered({one: answer for one, answer in got.items() if not isinstance(answer, UpstreamError)})
        self._claims.give_up(list(got))

    def _failed(self, trial: Trial, error: UpstreamError) -> None:
        now = monotonic()
        chance = random.random()  # noqa: S311  jitter
        delay = delay_before_retry(error, attempt=trial.attempt, left=trial.ends_at - now, chance=chance)
        if delay is None or trial.attempt >= self._patience.attempts or self._closed is not None:
            self._results.update(dict.fromkeys(trial.chunk, error))
            self._note([error], all_failed=True)
            self._claims.give_up(trial.chunk)
            return
        self._again.append(replace(trial, attempt=trial.attempt + 1, due=now + delay, error=error))
        self._again.sort(key=lambda one: one.due)

    def _note(self, errors: Sequence[UpstreamError], *, all_failed: bool) -> None:
        """Two failed chunks in a row close the door, as does a refused token."""
        self._failures = self._failures + 1 if all_failed else 0
        final = next((error for error in errors if isinstance(error, UpstreamAuthRefused)), None)
        if self._closed is None:
            self._closed = final or (errors[0] if self._failures >= FAILURES_THAT_STOP else None)

    def _give_up(self, why: UpstreamError) -> None:
        """What is not under way is not asked for any more; what has failed keeps its own error."""
        for trial in (*self._fresh, *self._source, *self._again):
            error = why if isinstance(why, UpstreamNotAsked) else trial.error or why
            self._results.update(dict.fromkeys(trial.chunk, error))
        for trial in self._again:
            self._claims.give_up(trial.chunk)
        self._fresh.clear()
        self._again.clear()

    def _keep_what_is_under_way(self) -> None:
        """The caller is cut off: calls that cannot be called back are waited for, and what they bring is kept."""
        self._closed = self._closed or UpstreamNotAsked(sentence("the caller was cut off"))
        while self._flying:
            try:
                self._land(list(wait(self._flying, return_when=FIRST_COMPLETED).done)[:1])
            except Exception:
                # What cut the caller off is raised in the end; the others are paid for and kept all the same
                logger.exception("an answer that was paid for could not be kept")


def not_asked(forbidden: Exception) -> UpstreamNotAsked:
    error = UpstreamNotAsked(sentence("the caller's limit forbade the call"))
    error.__cause__ = forbidden
    return error
