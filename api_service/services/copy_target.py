"""The cache that is copied to from the admin, by a setting: so no form, no task and no row has its password."""

from __future__ import annotations

from django.conf import settings
from django.utils import timezone

from api_service.models import CopyRun
from api_service.sentences import sentence
from api_service.services import copy_plan, copying
from api_service.services.backends import adapter_for_url
from api_service.services.beside import beside
from api_service.services.cache_service import APICacheService
from api_service.services.copy_checks import CannotCopy, Job, check
from api_service.services.copying import CopySummary
from api_service.services.redaction import redact

TASK = "workers.tasks.copy_cache"
NAME = "COPY_CACHE_URL"
# Who fills in a form waits no longer, whichever node of the two caches hangs
CHECK_SECONDS = 4.0


def job(*, replace: bool = False, requested_by: str = "") -> Job:
    """From the cache in use to that one. Raises CannotCopy where none is named."""
    if not settings.COPY_CACHE_URL:
        text = sentence("%(name)s is not set: name the other cache there, for web and workers alike.")
        raise CannotCopy(text % {"name": NAME})
    cache, target = APICacheService(), adapter_for_url(settings.COPY_CACHE_URL, NAME)
    return Job(cache.adapter, target, cache.wire_prefix, replace=replace, requested_by=requested_by)


def label() -> str:
    """Kind and node names of the target, "" where none is named."""
    if not settings.COPY_CACHE_URL:
        return ""
    target = adapter_for_url(settings.COPY_CACHE_URL, NAME)
    return copy_plan.label(target.name, target.nodes())


def check_in_time(asked: Job) -> None:
    """Raises CannotCopy, also for a cache that does not answer in time."""
    future = beside("copy-check", lambda: check(asked))
    try:
        future.result(CHECK_SECONDS)
    except TimeoutError as error:
        raise CannotCopy(sentence("One of the two caches does not answer in time.")) from error


def copy(*, replace: bool = False, requested_by: str = "") -> CopySummary:
    """As `copying.copy`; what is refused is on record, as whoever asked for it waits for a row."""
    try:
        return copying.copy(job(replace=replace, requested_by=requested_by))
    except CannotCopy as error:
        _refused(requested_by, redact(str(error)))
        raise


def _refused(requested_by: str, why: str) -> None:
    now, source = timezone.now(), APICacheService().adapter
    CopyRun.objects.create(
        started_at=now,
        finished_at=now,
        state=CopyRun.State.FAILED,
        purpose=CopyRun.Purpose.COPY,
        requested_by=requested_by[:150],
        source=copy_plan.label(source.name, source.nodes()),
        target=label(),
        error=why[:300],
    )
