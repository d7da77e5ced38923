"""Which channel hears of what: ALERT_ROUTES and ALERT_ESCALATE_TO, read and applied. Pure: no I/O, no clock.

A channel may have several addressees ("email", "email:2", "email:3"): a rule for the channel holds for all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from api_service.services.health_rules import RANK, Severity
from api_service.services.incident_facts import Event

# Who was woken hears that somebody has taken it on, and that it is over
AFTER_ESCALATION = frozenset({Event.ESCALATED, Event.ACKNOWLEDGED, Event.RESOLVED})
SEVERITIES = (Severity.WARNING, Severity.UNHEALTHY)


class BadRoutes(ValueError):
    """The setting cannot be read; the text says where and what is possible."""


@dataclass(frozen=True, slots=True)
class Route:
    """The channel hears of incidents that have been this bad, and whose code matches one of the patterns."""

    channel: str
    severity: Severity
    codes: tuple[str, ...] = ("*",)

    def takes(self, code: str, worst: Severity) -> bool:
        return RANK[worst] >= RANK[self.severity] and any(fnmatchcase(code, pattern) for pattern in self.codes)


@dataclass(frozen=True, slots=True)
class Routing:
    routes: tuple[Route, ...] = ()
    escalate_to: tuple[str, ...] = ()

    def takes(self, addressee: str, code: str, event: Event, worst: Severity, *, escalated: bool) -> bool:
        """`worst` is the worst that the incident has been: who heard of its beginning hears of its end.

        Without a route of its own a channel hears everything from warning up, unless it is there for escalations.
        """
        channel = channel_of(addressee)
        if escalated and event in AFTER_ESCALATION and channel in self.escalate_to:
            return True
        return any(route.takes(code, worst) for route in self._of(channel))

    def _of(self, channel: str) -> tuple[Route, ...]:
        own = tuple(route for route in self.routes if route.channel == channel)
        return own or (() if channel in self.escalate_to else (Route(channel, Severity.WARNING),))

    def named(self) -> set[str]:
        return {*(route.channel for route in self.routes), *self.escalate_to}


def channel_of(addressee: str) -> str:
    return addressee.partition(":")[0]


@lru_cache(maxsize=8)
def routing(routes: str, escalate_to: str, known: frozenset[str]) -> Routing:
    """Both settings, read; BadRoutes when one cannot be."""
    return Routing(parse_routes(routes, known), parse_channels(escalate_to, known))


def parse_routes(text: str, known: Collection[str]) -> tuple[Route, ...]:
    """`slack=warning, webhook=unhealthy:node_*|cache_*`: channel=lowest severity[:code patterns]."""
    return tuple(_route(part, known) for part in _parts(text))


def parse_channels(text: str, known: Collection[str]) -> tuple[str, ...]:
    return tuple(_channel(part, known) for part in _parts(text))


def _parts(text: str) -> Iterable[str]:
    return (part.strip() for part in text.split(",") if part.strip())


def _route(part: str, known: Collection[str]) -> Route:
    channel, equals, rule = (piece.strip() for piece in part.partition("="))
    severity, colon, patterns = (piece.strip() for piece in rule.partition(":"))
    codes = tuple(pattern.strip() for pattern in patterns.split("|")) if colon else ("*",)
    if not equals or not all(codes):
        raise BadRoutes(f"{part!r} is not channel=severity or channel=severity:code|code.")
    if severity not in SEVERITIES:
        raise BadRoutes(f"{severity!r} in {part!r} is no severity. Use {' or '.join(SEVERITIES)}.")
    return Route(_channel(channel, known), Severity(severity), codes)


def _channel(name: str, known: Collection[str]) -> str:
    if name not in known:
        raise BadRoutes(f"There is no channel {name!r}. Use {', '.join(sorted(known))}.")
    return name
