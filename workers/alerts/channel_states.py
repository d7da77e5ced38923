"""Which channels are off or at rest: rows that all processes share. A channel without a row is on."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from api_service.models import ChannelState, Delivery, Notice
from api_service.models.health import Status
from api_service.sentences import sentence
from workers.alerts import outbox
from workers.alerts.backoff import LONGEST_REST
from workers.alerts.channels import TABLE, configured
from workers.alerts.facts import ChannelOffFacts

logger = logging.getLogger(__name__)

REASON_LENGTH = ChannelState._meta.get_field("reason").max_length or 300


class NobodyHears(Exception):
    """Every channel that is configured is off: no alert reaches anybody, this news neither."""


def off(addressees: Iterable[str]) -> dict[str, str]:
    """Those that are off, and why."""
    rows = ChannelState.objects.filter(name__in=list(addressees), disabled_at__isnull=False)
    return dict(rows.values_list("name", "reason"))


def switch_off(addressee: str, reason: str, now: datetime) -> bool:
    """After a refusal for good: nothing more is sent to it, and the others are told, once. False: it is off already.

    To be called in the transaction that marks the refused delivery.
    """
    reason = reason[:REASON_LENGTH]
    _ensure(addressee)
    row = ChannelState.objects.filter(name=addressee, disabled_at__isnull=True)
    if not row.update(disabled_at=now, reason=reason, failed_at=now, error=reason, resting_until=None):
        return False
    logger.error("Alert channel %s is off: %s", addressee, reason)
    outbox.give_up_waiting(addressee, why_off(reason), now)
    _tell_the_others(addressee, reason, now)
    return True


def somebody_must_hear() -> None:
    """NobodyHears when no channel is left that could tell so: whoever watches the schedules has to."""
    addressees = configured()
    reasons = off(addressees)
    if addressees and len(reasons) == len(addressees):
        told = "; ".join(f"{name}: {reasons[name]}" for name in addressees)
        text = sentence("every alert channel is off, mend one and send it a test message: %(told)s")
        raise NobodyHears(text % {"told": told})


def why_off(reason: str) -> str:
    return sentence("the channel is off: %(reason)s") % {"reason": reason}


def _tell_the_others(addressee: str, reason: str, now: datetime) -> None:
    """Whatever their routes: somebody has to mend it."""
    others = [name for name in configured() if name != addressee]
    others = [name for name in others if name not in off(others)]
    if not others:
        return
    facts: ChannelOffFacts = {"kind": "channel_off", "at": now.isoformat(), "channel": addressee, "reason": reason}
    notice = Notice.objects.create(created_at=now, severity=Status.WARNING)
    Delivery.objects.bulk_create(
        Delivery(notice=notice, channel=name, facts=facts, created_at=now, due_at=now) for name in others
    )


def give_up_waiting(now: datetime) -> int:
    """What a channel that is off still has waiting: a sender that died held it when the channel went off."""
    names = ChannelState.objects.filter(disabled_at__isnull=False).values_list("name", "reason")
    return sum(outbox.give_up_waiting(name, why_off(reason), now) for name, reason in names)


def rest(addressee: str, seconds: float, now: datetime, error: str) -> None:
    """All processes leave it alone for as long as it asked."""
    until = now + min(timedelta(seconds=seconds), LONGEST_REST)
    _update(addressee, resting_until=until, failed_at=now, error=error[:REASON_LENGTH])


def failed(addressee: str, error: str, now: datetime) -> None:
    _update(addressee, failed_at=now, error=error[:REASON_LENGTH])


def succeeded(addressee: str, now: datetime) -> None:
    _update(addressee, succeeded_at=now)


def turn_on(addressee: str) -> bool:
    """Whether it was off; a rest ends as well. Its failed deliveries stay so until somebody has them tried again."""
    row = ChannelState.objects.filter(name=addressee)
    turned = row.filter(disabled_at__isnull=False).update(disabled_at=None, reason="") == 1
    row.filter(resting_until__isnull=False).update(resting_until=None)
    if turned:
        logger.info("Alert channel %s is on again", addressee)
    return turned


def note_configured() -> None:
    """Writes down which channels this process could send to, for the admin; nothing when that is known already."""
    now = configured()
    known = dict(ChannelState.objects.values_list("name", "configured"))
    missing = [name for name in dict.fromkeys([*TABLE, *now]) if name not in known]
    if missing:
        ChannelState.objects.bulk_create([ChannelState(name=name) for name in missing], ignore_conflicts=True)
    for value, names in ((True, now), (False, [name for name in known if name not in now])):
        changed = [name for name in names if known.get(name, False) is not value]
        if changed:
            ChannelState.objects.filter(name__in=changed).update(configured=value)


def _update(addressee: str, **values: object) -> None:
    if not ChannelState.objects.filter(name=addressee).update(**values):
        _ensure(addressee)
        ChannelState.objects.filter(name=addressee).update(**values)


def _ensure(addressee: str) -> None:
    """Two processes at once make one row."""
    ChannelState.objects.bulk_create([ChannelState(name=addressee)], ignore_conflicts=True)
