"""What can be looked up: everything that depends on its kind is decided here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from django.conf import settings

from api_service.services import keys, lifetimes

RUC: Final = "ruc"
DNI: Final = "dni"
EXCHANGE_RATE: Final = "tipo_cambio"
REPRESENTATIVES: Final = "representantes"
LIMA: Final = ZoneInfo("America/Lima")
_LIVES: Final = {
    DNI: lifetimes.DNI_LIFE,
    REPRESENTATIVES: lifetimes.REPRESENTATIVES_LIFE,
    EXCHANGE_RATE: lifetimes.LONGEST_RATE_LIFE,
}


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing that a service has an answer about."""

    service: str
    kind: str
    identifier: str

    @property
    def key(self) -> str:
        return keys.service_key(self.service, f"{self.kind}_{self.identifier}")

    @property
    def negative_key(self) -> str:
        """A RUC's is the public list of invalid RUCs; no other kind may get into that."""
        prefix = "invalid" if self.kind == RUC else f"absent_{self.kind}"
        return keys.service_key(self.service, f"{prefix}_{self.identifier}")

    def life(self, born_at: float) -> float:
        """Seconds that an answer made at `born_at` holds."""
        if self.kind == EXCHANGE_RATE:
            return lifetimes.rate_life(self.identifier, datetime.fromtimestamp(born_at, LIMA))
        return self.longest_life

    @property
    def longest_life(self) -> float:
        return float(_LIVES.get(self.kind) or settings.CACHE_TTL_RUC)

    def negative_life(self, born_at: float) -> float:
        return self.life(born_at) if self.kind == EXCHANGE_RATE else float(settings.CACHE_TTL_INVALID_RUC)

    @property
    def stale_while_revalidate(self) -> float:
        """Seconds past its life for which an answer is shown while a newer one is fetched.

        Yesterday's exchange rate is a wrong one, not an old one: it is shown to nobody who did not ask for that.
        """
        return 0.0 if self.kind == EXCHANGE_RATE else float(settings.STALE_WHILE_REVALIDATE)

    @property
    def stale_if_error(self) -> float:
        """The same while no newer one can be had."""
        return 0.0 if self.kind == EXCHANGE_RATE else float(settings.STALE_IF_ERROR)
