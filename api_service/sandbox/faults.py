"""What goes wrong, and when: switches with shares for demonstrations, a script of single answers for tests."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

SHARES: Final = ("error_rate", "timeout_rate", "broken_json_rate", "html_error_rate", "unknown_share")
# Answers that a script may ask for by name, with what may follow the colon.
NAMED: Final = {
    "ok": "",
    "timeout": "seconds of silence",
    "broken_json": "",
    "html": "",
    "html404": "",
    "refused": "words of the refusal",
    "wrong_ruc": "",
    "drip": "seconds between bytes",
}


@dataclass(frozen=True)
class Switches:
    """How the sandbox behaves from now on. Shares are from 0 to 1; 0 for the rate limit means none."""

    latency: float = 0.0
    error_rate: float = 0.0
    timeout_rate: float = 0.0
    broken_json_rate: float = 0.0
    html_error_rate: float = 0.0
    rate_limit_per_minute: int = 0
    unknown_share: float = 0.03
    consultas: int = 1_000_000
    seed: int = 1

    def changed(self, wanted: Mapping[str, Any]) -> "Switches":
        """With the named ones changed. Raises ValueError for an unknown name or an impossible value."""
        known = {field.name: field.type for field in fields(self)}
        for name, value in wanted.items():
            if name not in known:
                raise ValueError(f"no switch {name!r}; there are {', '.join(known)} and script")
            _check_switch(name, value, whole=known[name] is int)
        return replace(self, **wanted)


def _check_switch(name: str, value: object, *, whole: bool) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be a {'whole ' if whole else ''}number from 0")
    if name in SHARES and value > 1:
        raise ValueError(f"{name} is a share: from 0 to 1")


@dataclass(frozen=True)
class Fault:
    """One answer to give instead of the right one: `ok`, a name of NAMED, or a status as text."""

    kind: str = "ok"
    detail: str = ""

    @property
    def status(self) -> int | None:
        return int(self.kind) if self.kind.isdigit() else None

    def seconds(self, default: float) -> float:
        return float(self.detail) if self.detail else default


NONE: Final = Fault()


def parse(step: str) -> Fault:
    """A step of a script: "ok", "500", "429:2" (with Retry-After 2), "timeout:3", "refused:Plan vencido"."""
    kind, _, detail = step.partition(":")
    if kind not in NAMED and not (kind.isdigit() and 200 <= int(kind) <= 599):
        raise ValueError(f"no such step {step!r}; a status or one of {', '.join(NAMED)}")
    if kind in {"timeout", "drip"} and detail:
        float(detail)
    return Fault(kind, detail)


def drawn(switches: Switches, request_number: int) -> Fault:
    """The fault of the n-th request: the same for the same seed, whatever the clock and the threads do."""
    dice = _dice(switches, request_number, "fault").random()
    for kind, share in (
        ("500", switches.error_rate),
        ("timeout", switches.timeout_rate),
        ("broken_json", switches.broken_json_rate),
        ("html", switches.html_error_rate),
    ):
        if dice < share:
            return Fault(kind)
        dice -= share
    return NONE


def latency(switches: Switches, request_number: int) -> float:
    """Seconds before the answer: the switch's value, half of it more or less."""
    return switches.latency * (0.5 + _dice(switches, request_number, "latency").random())


def _dice(switches: Switches, request_number: int, what: str) -> random.Random:
    return random.Random(f"{switches.seed}/{request_number}/{what}")  # noqa: S311  repeatable, not secret
