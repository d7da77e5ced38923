"""Whether an old answer may be shown, and instead of what. Pure: the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass

from api_service.services.errors import UpstreamMalformed, UpstreamNotOffered
from api_service.services.outcomes import CacheRead, Outcome

REFRESHING = "refreshing"
# The question itself is wrong: no older answer makes it right
_ASK_OTHERWISE = (UpstreamMalformed, UpstreamNotOffered)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller accepts: an answer up to `max_stale` seconds past its life, None for what the settings say.

    `refresh` wants one that is made from now on; an old one is shown then only with a `max_stale` of its own.
    """

    max_stale: float | None = None
    refresh: bool = False

    def while_refreshing(self, usual: float) -> float:
        if self.refresh:
            return 0.0
        return usual if self.max_stale is None else min(usual, self.max_stale)

    def on_failure(self, usual: float) -> float:
        if self.max_stale is not None:
            return self.max_stale
        return 0.0 if self.refresh else usual


def shown_while_refreshing(read: CacheRead, now: float, allowed: float) -> bool:
    """Stale-while-revalidate (RFC 5861): the old answer at once, a newer one behind it."""
    if read.outcome is not Outcome.STALE or read.expires_at is None:
        return False
    return now - read.expires_at <= allowed


def shown_on(failure: Exception, allowed: float) -> bool:
    """Stale-if-error (RFC 5861): whether this failure is one of reaching the provider, or of paying it."""
    return allowed > 0 and not isinstance(failure, _ASK_OTHERWISE)


def code_of(failure: Exception) -> str:
    """The code that results and counts name the failure by."""
    return str(getattr(failure, "code", "")) or (
        "busy" if isinstance(failure, TimeoutError) else "database_unavailable"
    )
