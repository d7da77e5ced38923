"""Who asks for what, and when, in a made-up accounting office: pure, the same for the same seed.

A few customers are asked for all day and most hardly ever (Zipf), people mistype, and nobody works at night.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final

from stdnum.pe.ruc import calc_check_digit

REAL: Final = ("20100038146", "20131312955", "20603274742", "20100047218", "20100055237", "20100017491")
CUSTOMERS: Final = 2_000
SKEW: Final = 1.1
# Shares of all look-ups
NEWCOMERS: Final = 0.04
MISTYPED: Final = 0.02
# Companies are most of an office's customers; 10 is a natural person
PREFIXES: Final = ("20", "20", "20", "20", "10")

# (hour of the day in Lima, share of the busiest hour's traffic), joined by straight lines
PROFILE: Final = (
    *((0.0, 0.02), (6.0, 0.02), (8.0, 0.5), (9.5, 1.0), (12.5, 0.9), (13.5, 0.5), (15.0, 0.95)),
    *((17.5, 0.8), (19.0, 0.3), (22.0, 0.06), (24.0, 0.02)),
)


def intensity(hour: float) -> float:
    """The share of the busiest hour's traffic at an hour of the day (9.5 is half past nine)."""
    hour %= 24
    for (start, low), (end, high) in pairwise(PROFILE):
        if hour <= end:
            return low + (high - low) * (hour - start) / (end - start)
    return PROFILE[-1][1]


def customers(seed: int, number: int = CUSTOMERS) -> list[str]:
    """RUCs with valid check digits, the most frequent first; the first six are real."""
    dice = random.Random(f"customers/{seed}")  # noqa: S311 - repeatable, not secret
    made_up = (_ruc(dice) for _ in range(number))
    return list(dict.fromkeys([*REAL, *made_up]))[:number]


class Office:
    """Draws one look-up after the other."""

    def __init__(self, seed: int, customers: Sequence[str]) -> None:
        self._dice = random.Random(f"office/{seed}")  # noqa: S311
        self._customers = customers
        self._weights = list(accumulate(1 / rank**SKEW for rank in range(1, len(customers) + 1)))

    def next_ruc(self) -> str:
        draw = self._dice.random()
        if draw < MISTYPED:
            return self._mistyped()
        if draw < MISTYPED + NEWCOMERS:
            return _ruc(self._dice)
        return self._customer()

    def pause(self, rate: float) -> float:
        """Seconds until the next look-up at `rate` a second, as independent people make them."""
        return self._dice.expovariate(rate)

    def _customer(self) -> str:
        return self._dice.choices(self._customers, cum_weights=self._weights)[0]

    def _mistyped(self) -> str:
        """A wrong last digit, a missing one, or a letter."""
        ruc = self._customer()
        wrong = str((int(ruc[-1]) + self._dice.randint(1, 9)) % 10)
        return self._dice.choice((ruc[:-1] + wrong, ruc[:-1], ruc[:4] + "O" + ruc[5:]))


def _ruc(dice: random.Random) -> str:
    number = f"{dice.choice(PREFIXES)}{dice.randrange(10**8):08d}"
    return number + calc_check_digit(number)
