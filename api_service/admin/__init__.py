"""The admin: every table to look at, the periodic tasks to start by hand.

Rows that the machine keeps are read-only. What an operator may do, and the permission it needs:

* start a task ("Check now", "Track now", "Warm now", "Refill a node"): `add` on the table that the run writes its row
  into, or `change` on periodic tasks for "Run selected tasks" there;
* check a list of RUCs for invoicing, begin, resume and cancel it: `add` on billing runs; take the result: `view`;
* try an alert again: `change` on deliveries;
* make a token of the API: `add` on tokens; revoke one: `change`;
* send a test message, turn a channel on again: `change` on alert channels;
* acknowledge, mute or unmute an incident: `change` on incidents;
* plan maintenance: `add`, `change` and `delete` on maintenance windows;
* release the lock of a run that died: `change` on run locks.
"""

from __future__ import annotations

from api_service.admin import (
    accounts,
    alerts,
    beat_tables,
    billing,
    clearing,
    deliveries,
    habits,
    health,
    inventory,
    keys,
    maintenance,
    money,
    periodic,
    refills,
    runs,
    schedules,
    stale,
    tokens,
)

__all__ = [
    "accounts",
    "alerts",
    "beat_tables",
    "billing",
    "clearing",
    "deliveries",
    "habits",
    "health",
    "inventory",
    "keys",
    "maintenance",
    "money",
    "periodic",
    "refills",
    "runs",
    "schedules",
    "stale",
    "tokens",
]
