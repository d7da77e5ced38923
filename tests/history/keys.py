"""The large tables: keys, answers, reads by day, reading habits."""

from __future__ import annotations

from datetime import datetime

from api_service.models import DailyReads, ReadHabit, ReadHabitBin, StoredAnswer, TrackedKey
from tests.history import Size
from tests.history.series import any_of, day, insert, moment, scattered

# About what APIMIGO says of a RUC
ANSWER = (
    '{"nombre_o_razon_social": "COMERCIAL DEL SUR S.A.C.", "estado_del_contribuyente": "ACTIVO", '
    '"condicion_de_domicilio": "HABIDO", "direccion": "AV. JAVIER PRADO NRO. 4200", "departamento": "LIMA"}'
)
IDENTIFIER = f"'' || (20000000000 + {scattered()} * 7)"
OF_MIGO = {"service": "'migo'", "kind": "'ruc'", "identifier": IDENTIFIER}


def fill(size: Size, now: datetime, nodes: tuple[str, ...]) -> None:
    _tracked(size, now, nodes)
    answer = ANSWER.replace("'", "''")
    insert(StoredAnswer, size.keys, **OF_MIGO, data=f"'{answer}'", born_at=moment(now, "x % 2500000"))
    _reads(size, now)
    _habits(size, now)


def _tracked(size: Size, now: datetime, nodes: tuple[str, ...]) -> None:
    """Of 100 keys 70 are active, 25 expired, 4 removed, one is unknown."""
    part = "CASE WHEN x % 100"
    state = f"{part} < 70 THEN 'active' ELSE {part} < 95 THEN 'expired' ELSE {part} < 99 THEN 'removed' ELSE 'unknown'"
    insert(
        TrackedKey,
        size.keys,
        **OF_MIGO,
        key=f"'migo:ruc_' || ({IDENTIFIER})",
        node=any_of(*nodes),
        size="700",
        state=f"{state} END END END",
        expires_at=moment(now, "x % 7200 - 3600"),
        created_at=moment(now, "86400"),
        seen_at=moment(now, "600"),
        last_read_at=moment(now, "x % 5000"),
        reads="(x * 31) % 400",
    )


def _reads(size: Size, now: datetime) -> None:
    """As many as keys, over all days."""
    reads = "CASE WHEN x % 50 = 0 THEN x % 1000 ELSE 1 END"
    back = f"x % {size.days}"
    insert(
        DailyReads, size.keys, **OF_MIGO, day=day(now, back), reads=reads, last_read_at=moment(now, f"({back}) * 86400")
    )


def _habits(size: Size, now: datetime) -> None:
    """A fifth of the keys are asked for often enough to have one."""
    habits = max(size.keys // 5, 1)
    seen = f"{now.timestamp():.0f} - x"
    insert(ReadHabit, habits, id="x", **OF_MIGO, fast="1.0", fast_era="19", slow="1e34", visited_at=seen)
    insert(ReadHabitBin, 2 * habits, habit="(x + 1) / 2", bin="16 + x % 20", visits="1e34")
