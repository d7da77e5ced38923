"""One id for a request and for everything that it causes: log lines, tasks, Sentry events.

A caller may bring its own (`X-Request-ID`), so that its logs and ours are about the same thing; what could forge a log
line or grow a header is not taken over. A task has the id of the request that sent it, else its own.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, Final
from uuid import uuid4

from django.core.signals import request_finished
from django.http import HttpRequest
from django.http.response import HttpResponseBase

HEADER: Final = "X-Request-ID"
NONE: Final = "-"
# The name in the headers of a Celery message
CARRIED_AS: Final = "request_id"

_ACCEPTED = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_current: ContextVar[str] = ContextVar("request_id", default=NONE)
# Of the tasks that are under way in this process
_tasks: dict[str, Token[str]] = {}


def current() -> str:
    """The id of what is going on in this thread, `-` when that is no request and no task."""
    return _current.get()


def accepted(text: str | None) -> str | None:
    """The caller's id when it can be taken over: up to 64 letters, digits and `._:-`."""
    return text if text and _ACCEPTED.fullmatch(text) else None


@contextmanager
def under(request_id: str) -> Iterator[None]:
    token = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(token)


# -- requests


def middleware(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """The outermost one: what the others log and refuse has the id too."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        request_id = accepted(request.headers.get(HEADER)) or uuid4().hex
        _current.set(request_id)
        response = get_response(request)
        response.headers[HEADER] = request_id
        return response

    return handle


def end_request(**_kwargs: Any) -> None:
    """Not in the middleware: Django logs what was refused after it, and an answer may stream."""
    _current.set(NONE)


request_finished.connect(end_request, dispatch_uid="request-id")


# -- log lines


class AddRequestId(logging.Filter):
    """Gives every record `request_id`."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = current()
        return True


# -- tasks


def send_along(headers: MutableMapping[str, Any] | None = None, **_kwargs: Any) -> None:
    """Celery's `before_task_publish`."""
    if headers is not None and current() != NONE:
        headers[CARRIED_AS] = current()


def begin_task(task_id: str = NONE, task: Any = None, **_kwargs: Any) -> None:
    """Celery's `task_prerun`. A message may come from elsewhere: its id is checked like a caller's."""
    carried = getattr(getattr(task, "request", None), CARRIED_AS, None)
    _tasks[task_id] = _current.set(accepted(carried if isinstance(carried, str) else None) or task_id)


def end_task(task_id: str = NONE, **_kwargs: Any) -> None:
    """Celery's `task_postrun`. Back to what was before: a task may be called within a request, and threads of a pool
    are used again."""
    if token := _tasks.pop(task_id, None):
        _current.reset(token)
