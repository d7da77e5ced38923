"""The stable codes of stored rows in the operator's language. A code that is not here is shown as it is."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from api_service.services.latencies import Way
from api_service.services.roles import Role
from api_service.services.token_rules import Scope
from api_service.services.token_rules import State as TokenState

ROLES: Mapping[str, Promise] = {
    Role.VIEWER: _("Viewer"),
    Role.OPERATOR: _("Operator"),
    Role.ADMINISTRATOR: _("Administrator"),
}

# What a permission allows, by how its name begins
ALLOWED: Mapping[str, Promise] = {
    "view": _("see"),
    "add": _("add, or start its runs"),
    "change": _("change, or act upon its rows"),
    "delete": _("delete"),
    "test": _("test"),
}

FINDINGS: Mapping[str, Promise] = {
    "node_down": _("node does not answer"),
    "node_restarted": _("node was restarted"),
    "node_slow": _("node is slow"),
    "evictions_high": _("answers are thrown away"),
    "memory_high": _("memory nearly full"),
    "connections_high": _("connections nearly used up"),
    "connections_rejected": _("connections are refused"),
    "hit_ratio_low": _("few look-ups are in the cache"),
    "redis_policy": _("Redis drops nothing when it is full"),
    "redis_fragmented": _("memory of Redis is fragmented"),
    "redis_replica": _("Redis is a replica"),
    "upstream_refused": _("the token or the plan is refused"),
    "budget_low": _("paid queries nearly spent"),
    "budget_exhausted": _("limit of paid queries reached"),
    "account_low": _("queries of the account nearly used up"),
    "upstream_circuit_open": _("the service fails and is left alone"),
    "schedule_late": _("Beat does not send it"),
    "schedule_not_run": _("no run succeeds"),
    "cache_path_broken": _("the application cannot use the cache"),
    "stale_served": _("old answers are shown"),
    "broker_down": _("broker does not answer"),
    "queue_long": _("many tasks wait"),
    "queue_old": _("tasks wait for long"),
    "workers_missing": _("queue without a worker"),
    "upstream_errors": _("calls bring no answer"),
    "database_slow": _("database is slow"),
    "answer_store_off": _("store of answers is not waited for"),
    "read_counts_waiting": _("read counts are not written"),
    "tracking_old": _("inventory is old"),
    "reading_blind": _("the monitor sees nothing there"),
}
CHECKS: Mapping[str, Promise] = {
    "connection": _("connection"),
    "basic_operations": _("basic operations"),
    "invalid_rucs": _("invalid RUCs"),
}
# Until 2026 there was one incident for the whole cache
INCIDENTS: Mapping[str, Promise] = {**FINDINGS, "cache_health": _("health of the cache")}
HELD_BY: Mapping[str, Promise] = {
    "maintenance": _("maintenance"),
    "muted": _("muted"),
    "flapping": _("comes and goes"),
    "over": _("over before anybody was to hear of it"),
    "superseded": _("a newer step says more"),
    "minor": _("nobody waits for it"),
}
READINGS: Mapping[str, Promise] = {
    "beat": _("schedules"),
    "broker": _("broker"),
    "workers": _("workers"),
    "providers": _("paid services"),
    "database": _("database"),
    "tracking": _("key inventories"),
    "stale": _("old answers shown"),
}
NODE_DETAILS: Mapping[str, Promise] = {
    "first_error": _("first attempt"),
    "stats_error": _("statistics"),
    "expired_keys": _("expired since its boot"),
    "maxmemory_policy": _("when it is full"),
    "fragmentation": _("fragmentation"),
    "role": _("role"),
    "link": _("link to its primary"),
}
OUTCOMES: Mapping[str, Promise] = {
    "hit": _("hit"),
    "stale": _("old answer"),
    "negative": _("known not to exist"),
    "miss": _("miss"),
    "outage": _("cache down"),
}
WAYS: Mapping[str, Promise] = {
    Way.CACHE: _("cache"),
    Way.STORE: _("answer store"),
    Way.UPSTREAM: _("provider"),
    Way.FAILED: _("nobody: an error, or an old answer"),
}
PURPOSES: Mapping[str, Promise] = {
    "user": _("look-up of a user"),
    "warm": _("warming"),
    "retry": _("retry"),
}
SKIPPED: Mapping[str, Promise] = {
    "fresh": _("still fresh"),
    "known_invalid": _("known not to exist"),
    "below_break_even": _("too few reads expected"),
    "over_limit": _("beyond the limit"),
    "over_recheck": _("beyond the share of unknown RUCs"),
    "in_flight": _("asked for by somebody else meanwhile"),
    "over_budget": _("beyond the budget"),
    "over_cap": _("cap of paid queries reached"),
    "out_of_time": _("out of time"),
    "stopped": _("after an error that ends the run"),
    "cache_down": _("cache down"),
}
NOT_COPIED: Mapping[str, Promise] = {
    "expired": _("expired meanwhile"),
    "gone": _("gone meanwhile"),
    "foreign": _("written by another client"),
    "misplaced": _("not where the cache looks"),
    "too_large": _("too large for the target"),
    "no_memory": _("the target is full"),
    "invalid_key": _("key that the target does not take"),
    "refused": _("refused by the target"),
    "target_down": _("the target does not answer"),
}
STATES: Mapping[str, Promise] = {
    "waiting": _("waiting"),
    "running": _("running"),
    "done": _("done"),
    "copied": _("all copied"),
    "failed": _("failed"),
}
SEVERITIES: Mapping[str, Promise] = {
    "healthy": _("healthy"),
    "warning": _("warning"),
    "unhealthy": _("unhealthy"),
}
SCOPES: Mapping[str, Promise] = {
    Scope.LOOKUP: _("look up RUCs, DNIs and exchange rates, which may cost money"),
    Scope.OPERATIONS_READ: _("read the cache, its keys and its runs"),
    Scope.CACHE_CLEAR: _("clear services"),
    Scope.WARMING_RUN: _("start warm runs, which cost money, and replays"),
    Scope.INCIDENTS_WRITE: _("acknowledge and mute incidents"),
}
TOKEN_STATES: Mapping[str, Promise] = {
    TokenState.ACTIVE: _("usable"),
    TokenState.EXPIRED: _("expired"),
    TokenState.REVOKED: _("revoked"),
}
INVALID_REASONS: Mapping[str, Promise] = {
    "NO_EXISTE_SUNAT": _("SUNAT does not know it"),
    "FORMATO_INVALIDO": _("there can be no such number"),
    "(others)": _("others"),
}

# Of the time that keys have left, as the inventory names them
LIVES: Mapping[str, Promise] = {
    "1min": _("1 minute"),
    "5min": _("5 minutes"),
    "15min": _("15 minutes"),
    "1h": _("1 hour"),
    "6h": _("6 hours"),
    "24h": _("1 day"),
    "7d": _("7 days"),
    "more": _("longer"),
    "never": _("without end"),
}


def word(words: Mapping[str, Promise], code: str) -> str:
    return str(words.get(code, code))


def place(code: str, node: str) -> str:
    """Where a finding is: a node by its address, a reading around the cache by its word."""
    return word(READINGS, node) if code == "reading_blind" else node


def trouble(code: str, node: str) -> str:
    """What is wrong, and where."""
    return f"{word(INCIDENTS, code)} {place(code, node)}".strip()
