"""The admin: every table to look at, the periodic tasks to start by hand.

Rows that the machine keeps are read-only. What people may do, and the permission it needs; `roles.py` says which role
has it, and a line in `tests/integration/admin/access.py` who is let in at each address:

* start a task ("Check now", "Track now", "Warm now", "Refill a node", "Copy to another cache"): `add` on the table
  that the run writes its row into, or `change` on periodic tasks for "Run selected tasks" there;
* check a list of RUCs for invoicing, begin, resume and cancel it: `add` on billing runs; take the result: `view`;
* try an alert again: `change` on deliveries;
* make a token of the API: `add` on tokens; revoke one: `change`;
* send a test alert: `test` on alert channels; turn a channel on again: `change`;
* acknowledge, mute or unmute an incident: `change` on incidents;
* plan maintenance: `add`, `change` and `delete` on maintenance windows;
* look at one RUC: `view` on stored answers; refresh it, which costs money, mark it as invalid or take it off that list:
  `change`; forget it: `delete`;
* see who did what: `view` on log entries;
* release the lock of a run that died: `change` on run locks.
"""

from __future__ import annotations

from api_service.admin import (
    accounts,
    alerts,
    audit,
    beat_tables,
    billing,
    clearing,
    copies,
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
    "audit",
    "beat_tables",
    "billing",
    "clearing",
    "copies",
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
